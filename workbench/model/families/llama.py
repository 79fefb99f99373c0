"""Llama 1 to 3.3, SmolLM and SmolLM2, and others of this form."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.names import Change
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

    def settled(self) -> Self:
        rope = self.rope()
        return replace(self, rope_theta=rope.rope_theta, rope_scaling=asdict(rope), rope_parameters=None)


class LlamaForCausalLM(Decoder):
    def __init__(self, config: LlamaConfig) -> None:
        def block(layer: int) -> Block:
            attention = Attention(config, layer, qkv_bias=config.attention_bias, o_bias=config.attention_bias)
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act, config.mlp_bias))

        super().__init__(config, block, ropes=config.rope())


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    theta = file.meta.get("llama.rope.freq_base", 10_000.0)
    return {
        **gguf.values_of(file),
        "mlp_bias": "blk.0.ffn_up.bias" in file.tensors,
        "rope_theta": theta,
        "rope_scaling": gguf.rope_scaling(file) or gguf.llama3_scaling(file, theta),
    }


def _gguf_meta(config: LlamaConfig) -> dict[str, Any]:
    return gguf.meta_of(config, config.rope())


def _gguf_tables(config: LlamaConfig) -> dict[str, list[float]]:
    return gguf.rope_tables(config.rope(), config.head_dim)


def _gguf_changes(config: LlamaConfig) -> dict[str, Change]:
    """Returns what llama.cpp does: it makes neighbours of the rows that its rotary embedding turns together."""
    return neighbours(config)


FAMILY = Family(
    config=LlamaConfig,
    model=LlamaForCausalLM,
    neutral=COMMON_NEUTRAL | {"layer_types": ("full_attention",)},
    gguf=GgufRules(
        names=gguf.NAMES | {"layers.*.post_attention_layernorm": "blk.*.ffn_norm"},
        keys=gguf.KEYS,
        values=_gguf_values,
        meta=_gguf_meta,
        changes=_gguf_changes,
        tables=_gguf_tables,
    ),
)
