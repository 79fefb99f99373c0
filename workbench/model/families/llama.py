"""Llama 1 to 3.3, SmolLM and SmolLM2, and others of this form."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from workbench.attention.base import StepContext
from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.names import Change
from workbench.model import gguf
from workbench.model.base import CausalLM
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, ModelConfig
from workbench.model.decode import AtOnce
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.layers import RMSNorm
from workbench.model.rope import Rope
from workbench.model.rotary import Rotary


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(ModelConfig):
    hidden_act: Activation = "silu"
    mlp_bias: bool = False

    def rope(self) -> Rope:
        # `rope_scaling` of older configurations stands in place of `rope_parameters` of transformers 5, not beside it.
        return Rope.make(self.rope_theta, self.rope_scaling or self.rope_parameters)

    def settled(self) -> Self:
        rope = self.rope()
        return replace(self, rope_theta=rope.rope_theta, rope_scaling=asdict(rope), rope_parameters=None)


class LlamaForCausalLM(CausalLM):
    def __init__(self, config: LlamaConfig) -> None:
        def block(layer: int) -> Block:
            attention = Attention(config, layer, qkv_bias=config.attention_bias, o_bias=config.attention_bias)
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act, config.mlp_bias))

        super().__init__(config, map(block, range(config.num_hidden_layers)), RMSNorm(config.hidden_size, config.rms_norm_eps))
        self.at_once = AtOnce(self.layers)
        self.rope = config.rope()
        self.head_dim = config.head_dim

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        self.rotary = Rotary(self.head_dim, self.rope, self.max_positions, dtype=dtype, device=device)

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        x = self.embed_tokens(token_ids)
        turn = self.rotary.at(ctx.positions)
        done = self.at_once(x, turn, ctx)
        if done is not None:
            return self.norm(done)
        for layer in self.layers:
            x = layer(x, turn, ctx)
        return self.norm(x)


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
    """Returns what llama.cpp does: it interleaves the rows of queries and keys for its rotary embedding."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    return {
        f"layers.*.self_attn.{name}": Change(partial(_halves_apart, num_heads=num), partial(_interleaved, num_heads=num))
        for name, num in heads.items()
    }


def _halves_apart(rows: Tensor, num_heads: int) -> Tensor:
    """Returns rows in the order of the model: row i of a head's first half and of its second half are neighbours in the file."""
    pairs = rows.unflatten(0, (num_heads, -1, 2))  # [heads, D / 2, (first half, second half), ...]
    return pairs.transpose(1, 2).reshape(rows.shape)


def _interleaved(rows: Tensor, num_heads: int) -> Tensor:
    """Returns rows in the order of the file: the inverse of `_halves_apart`."""
    halves = rows.unflatten(0, (num_heads, 2, -1))  # [heads, (first half, second half), D / 2, ...]
    return halves.transpose(1, 2).reshape(rows.shape)


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
