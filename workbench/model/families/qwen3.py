"""Qwen 3: Qwen 2 with normed queries and keys in place of biases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.decoder import Decoder
from workbench.model.families.qwen2 import Qwen2Config
from workbench.model.family import Family, GgufRules
from workbench.model.layers import RMSNorm


@dataclass(frozen=True, kw_only=True)
class Qwen3Config(Qwen2Config):
    head_dim: int = 128

    def settled(self) -> Self:
        return replace(super().settled(), attention_bias=self.attention_bias)


class Qwen3ForCausalLM(Decoder):
    def __init__(self, config: Qwen3Config) -> None:
        def block(layer: int) -> Block:
            attention = Attention(
                config, layer, window=config.window(layer), qkv_bias=config.attention_bias, o_bias=config.attention_bias,
                head_norm=lambda _, size: RMSNorm(size, config.rms_norm_eps),
            )  # fmt: skip
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act))

        super().__init__(config, block, ropes=config.rope())


FAMILY = Family[Qwen3Config](
    config=Qwen3Config, model=Qwen3ForCausalLM,
    gguf=GgufRules[Qwen3Config](
        names=gguf.LLAMA_NAMES | gguf.HEAD_NORMS, keys=gguf.KEYS, values=gguf.plain_values, meta=gguf.plain_meta,
        tables=gguf.plain_tables
    ),
)  # fmt: skip
