"""Llama: SmolLM2, Llama 2 and 3. Read from top to bottom; the checkpoint's names stand at the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from workbench.attention.base import StepContext
from workbench.attention.spec import AttentionSpec
from workbench.kernels.ops import rotate
from workbench.model.base import CausalLM, Fused
from workbench.model.layers import Embedding, Linear, RMSNorm, Rotary, gated, rope_settings


class Attention(nn.Module):
    def __init__(self, config: dict[str, Any], layer: int) -> None:
        super().__init__()
        hidden, self.head_dim = config["hidden_size"], config["head_dim"]
        self.sizes = [heads * self.head_dim for heads in (config["num_attention_heads"], *[config["num_key_value_heads"]] * 2)]
        bias = config["attention_bias"]
        self.qkv = Linear(hidden, sum(self.sizes), bias)
        self.o_proj = Linear(self.sizes[0], hidden, bias)
        self.spec = AttentionSpec(
            layer=layer, num_heads=config["num_attention_heads"], num_kv_heads=config["num_key_value_heads"],
            head_size=self.head_dim, v_head_size=self.head_dim, scale=self.head_dim**-0.5,
        )  # fmt: skip

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], ctx: StepContext) -> Tensor:  # [T, H]
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)) for part in self.qkv(x).split(self.sizes, -1))
        q, k = rotate(q, *turn), rotate(k, *turn)  # [T, Hq, D], [T, Hkv, D]
        out = ctx.attention.attend(self.spec, q, k, v)  # [T, Hq, D]
        return self.o_proj(out.flatten(1))  # [T, H]


class MLP(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        bias = config["mlp_bias"]
        self.gate_up = Linear(hidden, 2 * inner, bias)
        self.down_proj = Linear(inner, hidden, bias)
        self.act = gated(config["hidden_act"])

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act(self.gate_up(x)))


class Block(nn.Module):
    def __init__(self, config: dict[str, Any], layer: int) -> None:
        super().__init__()
        hidden, eps = config["hidden_size"], config["rms_norm_eps"]
        self.input_layernorm = RMSNorm(hidden, eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(hidden, eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], ctx: StepContext) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turn, ctx)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaForCausalLM(CausalLM):
    # Checkpoint tensors that are stored apart and multiplied together.
    fused = (
        Fused("self_attn.qkv", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Fused("mlp.gate_up", ("mlp.gate_proj", "mlp.up_proj")),
    )

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.embed_tokens = Embedding(self.vocab_size, config["hidden_size"])
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(self.num_layers))
        self.norm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        self.lm_head = Linear(config["hidden_size"], self.vocab_size)

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        # `rope_scaling` of older configurations stands in place of `rope_parameters` of transformers 5, not beside it.
        stated = self.config["rope_scaling"] or self.config["rope_parameters"]
        rope = rope_settings(self.config["rope_theta"], stated)
        self.rotary = Rotary(self.head_dim, rope, self.max_positions, dtype=dtype, device=device)

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        x = self.embed_tokens(token_ids)
        turn = self.rotary.at(ctx.positions)
        for layer in self.layers:
            x = layer(x, turn, ctx)
        return self.norm(x)
