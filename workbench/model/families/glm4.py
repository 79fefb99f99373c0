"""GLM-4 of April 2025, 9B and 32B: GLM with four norms per block."""

from __future__ import annotations

from functools import partial

from workbench.model.blocks import MLP, Attention, SandwichBlock
from workbench.model.decoder import Decoder
from workbench.model.families.glm import GlmConfig, changes, cuts
from workbench.model.family import Family
from workbench.model.layers import RMSNorm


class Glm4ForCausalLM(Decoder):
    def __init__(self, config: GlmConfig) -> None:
        def block(layer: int) -> SandwichBlock:
            attention = Attention(config, layer, qkv_bias=config.attention_bias)
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
            return SandwichBlock(config, attention, mlp, partial(RMSNorm, eps=config.rms_norm_eps))

        super().__init__(config, block, ropes=config.rope())


FAMILY = Family(
    config=GlmConfig, model=Glm4ForCausalLM, changes=changes, cuts=cuts,
    names={
        "layers.*.post_attention_layernorm": "layers.*.post_self_attn_layernorm",
        "layers.*.pre_feedforward_layernorm": "layers.*.post_attention_layernorm",
        "layers.*.post_feedforward_layernorm": "layers.*.post_mlp_layernorm",
    },
)  # fmt: skip
