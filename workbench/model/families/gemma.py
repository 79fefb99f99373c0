"""Gemma 1: norms stored minus one, a scaled embedding, heads larger than their share of the hidden size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from workbench.checkpoint.names import Change
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import Family, GgufRules
from workbench.model.layers import RMSNorm


@dataclass(frozen=True, kw_only=True)
class GemmaConfig(ModelConfig):
    head_dim: int = 256
    num_key_value_heads: int = 16
    max_position_embeddings: int = 8192
    tie_word_embeddings: bool = True
    hidden_act: Activation = "gelu_pytorch_tanh"
    hidden_activation: Activation | None = None
    """Counts more than `hidden_act`, where both are stated."""

    def settled(self) -> Self:
        return replace(super().settled(), hidden_act=self.hidden_activation or self.hidden_act, hidden_activation=None)


class GemmaForCausalLM(Decoder):
    def __init__(self, config: GemmaConfig) -> None:
        norm = partial(RMSNorm, eps=config.rms_norm_eps, offset=1.0)
        activation = config.hidden_activation or config.hidden_act

        def block(layer: int) -> Block:
            attention = Attention(config, layer, qkv_bias=config.attention_bias, o_bias=config.attention_bias)
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, activation), norm)

        super().__init__(
            config, block, norm=norm(config.hidden_size), ropes=config.rope(), embed_scale=config.hidden_size**0.5
        )  # fmt: skip


def plus_one(names: Mapping[str, str]) -> dict[str, Change]:
    """Returns what llama.cpp does to the norms of Gemma: it stores every one plus one."""
    change = Change(undo=lambda weight: weight - 1, do=lambda weight: weight + 1)
    return {name: change for name in names if name.endswith("norm")}


FAMILY = Family[GemmaConfig](
    config=GemmaConfig, model=GemmaForCausalLM,
    gguf=GgufRules[GemmaConfig](
        names=gguf.LLAMA_NAMES, keys=gguf.KEYS, values=gguf.plain_values, meta=gguf.plain_meta, tables=gguf.plain_tables,
        changes=lambda _: plus_one(gguf.LLAMA_NAMES),
    ),
)  # fmt: skip
