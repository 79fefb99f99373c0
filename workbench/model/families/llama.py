"""Llama 1 to 3.3, SmolLM and SmolLM2, and others of this form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.rows import neighbours


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(ModelConfig):
    hidden_act: Activation = "silu"
    mlp_bias: bool = False


class LlamaForCausalLM(Decoder):
    def __init__(self, config: LlamaConfig) -> None:
        def block(layer: int) -> Block:
            attention = Attention(config, layer, qkv_bias=config.attention_bias, o_bias=config.attention_bias)
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act, config.mlp_bias))

        super().__init__(config, block, ropes=config.rope())


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    return {**gguf.plain_values(file), "mlp_bias": "blk.0.ffn_up.bias" in file.tensors}


NEUTRAL = COMMON_NEUTRAL | {"layer_types": ("full_attention",)}
FAMILY = Family[LlamaConfig](
    config=LlamaConfig,
    model=LlamaForCausalLM,
    neutral=NEUTRAL,
    gguf=GgufRules[LlamaConfig](
        names=gguf.LLAMA_NAMES,
        keys=gguf.KEYS,
        values=_gguf_values,
        meta=gguf.plain_meta,
        changes=neighbours,  # llama.cpp turns neighbours, so its files have these together
        tables=gguf.plain_tables,
    ),
)
