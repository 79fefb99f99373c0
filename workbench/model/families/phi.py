"""Phi-1, 1.5 and 2: attention and MLP in parallel after one layer norm, with biases everywhere, also of the head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf
from workbench.model.blocks import Attention, ParallelBlock, UngatedMLP
from workbench.model.config import Activation, PartlyRotated
from workbench.model.decoder import Decoder
from workbench.model.family import Family, GgufRules
from workbench.model.layers import LayerNorm


@dataclass(frozen=True, kw_only=True)
class PhiConfig(PartlyRotated):
    partial_rotary_factor: float = 0.5
    hidden_act: Activation = "gelu_new"
    layer_norm_eps: float = 1e-5
    qk_layernorm: bool = False

    def settled(self) -> Self:
        return replace(super().settled(), attention_bias=True)  # its biases are no matter of the key


class PhiForCausalLM(Decoder):
    def __init__(self, config: PhiConfig) -> None:
        norm = partial(LayerNorm, eps=config.layer_norm_eps)
        head_norm = (lambda _, size: norm(size)) if config.qk_layernorm else None

        def block(layer: int) -> ParallelBlock:
            attention = Attention(config, layer, qkv_bias=True, o_bias=True, head_norm=head_norm)
            mlp = UngatedMLP(config.hidden_size, config.intermediate_size, config.hidden_act)
            return ParallelBlock(config, attention, mlp, norm)

        super().__init__(config, block, norm=norm(config.hidden_size), ropes=config.rope(), head_bias=True)


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    return gguf.layer_normed(gguf.partly_rotated_values(file), "layer_norm_eps")


def _gguf_meta(config: PhiConfig) -> dict[str, Any]:
    return gguf.layer_normed_meta(gguf.partly_rotated_meta(config), config.layer_norm_eps)


FAMILY = Family(
    config=PhiConfig,
    model=PhiForCausalLM,
    names={
        "norm": "final_layernorm",
        "layers.*.self_attn.o_proj": "layers.*.self_attn.dense",
        "layers.*.self_attn.q_norm": "layers.*.self_attn.q_layernorm",
        "layers.*.self_attn.k_norm": "layers.*.self_attn.k_layernorm",
        "layers.*.mlp.up_proj": "layers.*.mlp.fc1",
        "layers.*.mlp.down_proj": "layers.*.mlp.fc2",
    },
    gguf=GgufRules(names=gguf.NAMES, keys=gguf.KEYS, values=_gguf_values, meta=_gguf_meta),
)
