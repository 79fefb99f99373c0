"""Gemma 3 (text): four norms per block, normed queries and keys, five local layers to each global one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from workbench.attention.base import StepContext
from workbench.attention.spec import AttentionSpec
from workbench.kernels.ops import rotate
from workbench.model.base import CausalLM, Fused
from workbench.model.layers import Embedding, Linear, RMSNorm, Rotary, gated, rope_settings


def layer_types(config: dict[str, Any]) -> list[str]:
    """Kind of each layer: as listed, or every sixth (`sliding_window_pattern`) global."""
    every = config["sliding_window_pattern"] or config["_sliding_window_pattern"]
    kinds = ["full_attention" if (i + 1) % every == 0 else "sliding_attention" for i in range(config["num_hidden_layers"])]
    return (config["layer_types"] or kinds)[: config["num_hidden_layers"]]


class Attention(nn.Module):
    def __init__(self, config: dict[str, Any], layer: int, kind: str) -> None:
        super().__init__()
        hidden, self.head_dim, eps = config["hidden_size"], config["head_dim"], config["rms_norm_eps"]
        self.sizes = [heads * self.head_dim for heads in (config["num_attention_heads"], *[config["num_key_value_heads"]] * 2)]
        bias = config["attention_bias"]
        self.qkv = Linear(hidden, sum(self.sizes), bias)
        self.o_proj = Linear(self.sizes[0], hidden, bias)
        self.q_norm = RMSNorm(self.head_dim, eps, offset=1.0)
        self.k_norm = RMSNorm(self.head_dim, eps, offset=1.0)
        self.spec = AttentionSpec(
            layer=layer, num_heads=config["num_attention_heads"], num_kv_heads=config["num_key_value_heads"],
            head_size=self.head_dim, v_head_size=self.head_dim, scale=config["query_pre_attn_scalar"] ** -0.5,
            window=config["sliding_window"] if kind == "sliding_attention" else None,
        )  # fmt: skip

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], ctx: StepContext) -> Tensor:  # [T, H]
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)) for part in self.qkv(x).split(self.sizes, -1))
        q, k = rotate(self.q_norm(q), *turn), rotate(self.k_norm(k), *turn)  # [T, Hq, D], [T, Hkv, D]
        out = ctx.attention.attend(self.spec, q, k, v)
        return self.o_proj(out.flatten(1))  # [T, H]


class MLP(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        self.gate_up = Linear(hidden, 2 * inner)
        self.down_proj = Linear(inner, hidden)
        self.act = gated(config["hidden_activation"])

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act(self.gate_up(x)))


class Block(nn.Module):
    def __init__(self, config: dict[str, Any], layer: int, kind: str) -> None:
        super().__init__()
        hidden, eps = config["hidden_size"], config["rms_norm_eps"]
        self.input_layernorm = RMSNorm(hidden, eps, offset=1.0)
        self.self_attn = Attention(config, layer, kind)
        self.post_attention_layernorm = RMSNorm(hidden, eps, offset=1.0)
        self.pre_feedforward_layernorm = RMSNorm(hidden, eps, offset=1.0)
        self.mlp = MLP(config)
        self.post_feedforward_layernorm = RMSNorm(hidden, eps, offset=1.0)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], ctx: StepContext) -> Tensor:
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), turn, ctx))
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class Gemma3ForCausalLM(CausalLM):
    fused = (
        Fused("self_attn.qkv", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Fused("mlp.gate_up", ("mlp.gate_proj", "mlp.up_proj")),
    )

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.embed_tokens = Embedding(self.vocab_size, config["hidden_size"])
        self.kinds = layer_types(config)
        self.layers = nn.ModuleList(Block(config, layer, kind) for layer, kind in enumerate(self.kinds))
        self.norm = RMSNorm(config["hidden_size"], config["rms_norm_eps"], offset=1.0)
        self.lm_head = Linear(config["hidden_size"], self.vocab_size)
        self.softcap = config["final_logit_softcapping"]

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        config = self.config
        kinds = config["rope_parameters"] or {}
        local = rope_settings(config["rope_local_base_freq"], kinds.get("sliding_attention"))
        full = rope_settings(config["rope_theta"], kinds.get("full_attention"), config["rope_scaling"])
        how: dict[str, Any] = {"dtype": dtype, "device": device}
        self.rotary = {
            "sliding_attention": Rotary(self.head_dim, local, self.max_positions, **how),
            "full_attention": Rotary(self.head_dim, full, self.max_positions, **how),
        }
        # The embedding scale is rounded to the weights' type, as the model was trained.
        self.embed_scale = torch.tensor(config["hidden_size"] ** 0.5, dtype=dtype, device=device)

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        x = self.embed_tokens(token_ids) * self.embed_scale
        turns = {kind: rotary.at(ctx.positions) for kind, rotary in self.rotary.items()}
        for layer, kind in zip(self.layers, self.kinds, strict=True):
            x = layer(x, turns[kind], ctx)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        logits = super().logits(hidden)
        return logits if self.softcap is None else self.softcap * torch.tanh(logits.float() / self.softcap)
