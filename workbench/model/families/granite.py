"""Granite 3: Llama with four factors, on the embedding, the scores, what a block adds, and the logits."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import Family


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


FAMILY = Family(config=GraniteConfig, model=GraniteForCausalLM)
