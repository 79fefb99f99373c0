"""Baichuan 1 and 2: Llama with fused projections. 13B has slopes by distance (ALiBi) in the place of rotary embeddings, and the
head of Baichuan 2 has rows of length 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor
from torch.nn import functional as F

from workbench.attention.bias import LinearBias
from workbench.checkpoint.names import Change, Cut, one_after_the_other
from workbench.checkpoint.weights import Weights
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.decoder import Decoder
from workbench.model.families.llama import NEUTRAL, LlamaConfig
from workbench.model.family import Family, GgufRules
from workbench.model.linear import Linear
from workbench.model.rows import neighbours

HIDDEN_OF_13B = 5120
"""The configuration has no key for the kind of positions: size alone shows it."""


@dataclass(frozen=True, kw_only=True)
class BaichuanConfig(LlamaConfig):
    words: ClassVar[Mapping[str, str]] = {"model_max_length": "max_position_embeddings"}

    z_loss_weight: float | None = None
    """A setting of training, which only configurations of Baichuan 2 have. Where it is stated, the head is theirs."""

    @property
    def has_slopes(self) -> bool:
        """True for 13B, which has no rotary embedding."""
        return self.hidden_size == HIDDEN_OF_13B

    def settled(self) -> Self:
        # The key shows that the head has rows of length 1, and in GGUF files the head itself has them.
        return replace(super().settled(), z_loss_weight=None)


class UnitHead(Linear):
    """A head whose rows are divided by their length."""

    def load(self, weights: Weights) -> None:
        self._set(F.normalize(weights.tensor("weight", self.out_features, self.in_features)), None)


class BaichuanForCausalLM(Decoder):
    def __init__(self, config: BaichuanConfig) -> None:
        bias = LinearBias.of(config.num_attention_heads) if config.has_slopes else None

        def block(layer: int) -> Block:
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
            return Block(config, Attention(config, layer, bias=bias), mlp)

        super().__init__(config, block, ropes=None if config.has_slopes else config.rope())
        if config.z_loss_weight is not None:
            self.lm_head = UnitHead(config.hidden_size, config.vocab_size, is_head=True)


class BaiChuanForCausalLM(BaichuanForCausalLM):
    pass


def _cuts(config: BaichuanConfig) -> Mapping[str, Cut]:
    rows = config.num_attention_heads * config.head_dim
    return one_after_the_other("layers.*.self_attn.W_pack", {f"layers.*.self_attn.{part}_proj": rows for part in "qkv"})


def _as_it_is(head: Tensor) -> Tensor:
    return head


def _with_unit_head(config: BaichuanConfig) -> Mapping[str, Change]:
    """Returns the changes for a file of Baichuan 2: its head is as it is multiplied, since no key shows which kind it is."""
    return neighbours(config) | {"lm_head": Change(_as_it_is, F.normalize, of_rows=False)}


def _family(
    model: type[BaichuanForCausalLM], changes: Callable[[BaichuanConfig], Mapping[str, Change]]
) -> Family[BaichuanConfig]:
    rules = GgufRules[BaichuanConfig](
        names=gguf.LLAMA_NAMES, keys=gguf.KEYS, values=gguf.plain_values, changes=changes, meta=gguf.plain_meta,
        tables=gguf.plain_tables,
    )  # fmt: skip
    return Family(config=BaichuanConfig, model=model, cuts=_cuts, neutral=NEUTRAL, gguf=rules)


FAMILY = _family(BaichuanForCausalLM, _with_unit_head)
FIRST = _family(BaiChuanForCausalLM, neighbours)
