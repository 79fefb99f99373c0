"""Granite 3: Llama with four factors, on the embedding, the scores, what a block adds, and the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import Family, GgufRules
from workbench.model.rows import neighbours


@dataclass(frozen=True, kw_only=True)
class GraniteConfig(ModelConfig):
    hidden_act: Activation = "silu"
    mlp_bias: bool = False
    embedding_multiplier: float = 1.0
    attention_multiplier: float = 1.0
    """The factor on scores, in place of 1 over the root of the head size."""
    residual_multiplier: float = 1.0
    logits_scaling: float = 1.0
    """Logits are divided by it."""


class GraniteForCausalLM(Decoder):
    def __init__(self, config: GraniteConfig) -> None:
        def block(layer: int) -> Block:
            bias = config.attention_bias
            attention = Attention(config, layer, scale=config.attention_multiplier, qkv_bias=bias, o_bias=bias)
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act, config.mlp_bias)
            return Block(config, attention, mlp, added_scale=config.residual_multiplier)

        super().__init__(
            config, block, ropes=config.rope(), embed_scale=config.embedding_multiplier, logit_scale=1 / config.logits_scaling
        )  # fmt: skip


FACTORS = {
    "embedding_scale": "embedding_multiplier", "attention.scale": "attention_multiplier", "residual_scale": "residual_multiplier",
    "logit_scale": "logits_scaling",
}  # fmt: skip
"""Key of GGUF files, below the architecture's name -> ours."""


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    factors = {ours: file.meta.need(f"granite.{key}") for key, ours in FACTORS.items()}
    return {**gguf.plain_values(file), "mlp_bias": "blk.0.ffn_up.bias" in file.tensors, **factors}


def _gguf_meta(config: GraniteConfig) -> dict[str, Any]:
    return gguf.plain_meta(config) | {key: float(getattr(config, ours)) for key, ours in FACTORS.items()}


FAMILY = Family[GraniteConfig](
    config=GraniteConfig, model=GraniteForCausalLM,
    gguf=GgufRules[GraniteConfig](
        names=gguf.LLAMA_NAMES, keys=gguf.KEYS | FACTORS.keys(), values=_gguf_values, meta=_gguf_meta, changes=neighbours,
        tables=gguf.plain_tables,
    ),
)  # fmt: skip
