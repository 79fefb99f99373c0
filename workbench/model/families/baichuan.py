"""Baichuan 1 and 2, 7B: Llama with fused projections; the head of the second has rows of length 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch.nn import functional as F

from workbench.checkpoint.names import Cut, one_after_the_other
from workbench.checkpoint.weights import Weights
from workbench.errors import ModelUnsupported
from workbench.model.families.llama import NEUTRAL, LlamaConfig, LlamaForCausalLM
from workbench.model.family import Family
from workbench.model.linear import Linear

HIDDEN_OF_13B = 5120
"""The configuration has no key for the kind of positions: size alone shows it."""


@dataclass(frozen=True, kw_only=True)
class BaichuanConfig(LlamaConfig):
    words: ClassVar[Mapping[str, str]] = {"model_max_length": "max_position_embeddings"}

    z_loss_weight: float | None = None
    """A setting of training, which only configurations of Baichuan 2 have. Where it is stated, the head is theirs."""

    def __post_init__(self) -> None:
        if self.hidden_size == HIDDEN_OF_13B:
            message = "Baichuan 13B has no rotary embedding but a bias on scores by distance (ALiBi), which is not computed here"
            raise ModelUnsupported(message, hint="use a Baichuan 7B")


class UnitHead(Linear):
    """A head whose rows are divided by their length."""

    def load(self, weights: Weights) -> None:
        self._set(F.normalize(weights.tensor("weight", self.out_features, self.in_features)), None)


class BaichuanForCausalLM(LlamaForCausalLM):
    def __init__(self, config: BaichuanConfig) -> None:
        super().__init__(config)
        if config.z_loss_weight is not None:
            self.lm_head = UnitHead(config.hidden_size, config.vocab_size, is_head=True)


class BaiChuanForCausalLM(BaichuanForCausalLM):
    pass


def _cuts(config: BaichuanConfig) -> Mapping[str, Cut]:
    rows = config.num_attention_heads * config.head_dim
    return one_after_the_other("layers.*.self_attn.W_pack", {f"layers.*.self_attn.{part}_proj": rows for part in "qkv"})


FAMILY = Family(config=BaichuanConfig, model=BaichuanForCausalLM, cuts=_cuts, neutral=NEUTRAL)
FIRST = Family(config=BaichuanConfig, model=BaiChuanForCausalLM, cuts=_cuts, neutral=NEUTRAL)
