"""GLM-4 of April 2025, 9B and 32B: GLM with four norms per block."""

from __future__ import annotations

from functools import partial

from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, SandwichBlock
from workbench.model.decoder import Decoder
from workbench.model.families.glm import GlmConfig, changes, cuts, gguf_cuts
from workbench.model.family import Family, GgufRules
from workbench.model.layers import RMSNorm


class Glm4ForCausalLM(Decoder):
    def __init__(self, config: GlmConfig) -> None:
        def block(layer: int) -> SandwichBlock:
            attention = Attention(config, layer, qkv_bias=config.attention_bias)
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
            return SandwichBlock(config, attention, mlp, partial(RMSNorm, eps=config.rms_norm_eps))

        super().__init__(config, block, ropes=config.rope())


GGUF_NAMES = gguf.NAMES | {
    "layers.*.post_attention_layernorm": "blk.*.post_attention_norm",
    "layers.*.pre_feedforward_layernorm": "blk.*.ffn_norm",
    "layers.*.post_feedforward_layernorm": "blk.*.post_ffw_norm",
}


FAMILY = Family[GlmConfig](
    config=GlmConfig, model=Glm4ForCausalLM, changes=changes, cuts=cuts,
    names={
        "layers.*.post_attention_layernorm": "layers.*.post_self_attn_layernorm",
        "layers.*.pre_feedforward_layernorm": "layers.*.post_attention_layernorm",
        "layers.*.post_feedforward_layernorm": "layers.*.post_mlp_layernorm",
    },
    gguf=GgufRules[GlmConfig](
        names=GGUF_NAMES, keys=gguf.KEYS, values=gguf.partly_rotated_values, changes=changes, cuts=gguf_cuts,
        meta=gguf.partly_rotated_meta,
    ),
)  # fmt: skip
