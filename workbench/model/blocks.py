"""The parts that most decoders are made of: attention, a gated MLP, and the block of both with a norm before each."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from workbench.attention.base import StepContext
from workbench.attention.spec import AttentionSpec
from workbench.kernels.ops import rotate
from workbench.model.config import Activation, ModelConfig
from workbench.model.layer import Layer
from workbench.model.layers import RMSNorm, gated
from workbench.model.linear import FusedLinear, Linear
from workbench.model.rotary import Turn


class Attention(Layer):
    """Grouped-query attention over rotated queries and keys."""

    def __init__(
        self,
        config: ModelConfig,
        layer: int,
        *,
        scale: float | None = None,
        window: int | None = None,
        qkv_bias: bool = False,
        o_bias: bool = False,
        head_norm: Callable[[int], RMSNorm] | None = None,
    ) -> None:
        """`scale` is by default one over the root of the head size. `head_norm` makes the norm of each query and key head."""
        super().__init__()
        num_heads, num_kv_heads, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.spec = AttentionSpec(
            layer=layer, num_heads=num_heads, num_kv_heads=num_kv_heads, head_size=size, v_head_size=size,
            scale=size**-0.5 if scale is None else scale, window=window,
        )  # fmt: skip
        parts = {"q_proj": num_heads * size, "k_proj": num_kv_heads * size, "v_proj": num_kv_heads * size}
        self.qkv = FusedLinear(config.hidden_size, parts, qkv_bias)
        self.o_proj = Linear(num_heads * size, config.hidden_size, o_bias)
        self.q_norm = head_norm(size) if head_norm else None
        self.k_norm = head_norm(size) if head_norm else None

    def forward(self, x: Tensor, turn: Turn, ctx: StepContext) -> Tensor:  # [T, H] -> [T, H]
        q, k, v = (part.unflatten(-1, (-1, self.spec.head_size)) for part in self.qkv.split(x))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, *turn), rotate(k, *turn)  # [T, Hq, D], [T, Hkv, D]
        out = ctx.attention.attend(self.spec, q, k, v)  # [T, Hq, D]
        return self.o_proj(out.flatten(1))


class MLP(Layer):
    """down(activation(gate(x)) * up(x))."""

    def __init__(self, hidden_size: int, intermediate_size: int, activation: Activation, bias: bool = False) -> None:
        super().__init__()
        self.gate_up = FusedLinear(hidden_size, {"gate_proj": intermediate_size, "up_proj": intermediate_size}, bias)
        self.down_proj = Linear(intermediate_size, hidden_size, bias)
        self.activate = gated(activation)

    def forward(self, x: Tensor) -> Tensor:  # [T, H] -> [T, H]
        return self.down_proj(self.activate(self.gate_up(x)))


class Block(Layer):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig, attention: Attention, mlp: Layer) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = attention
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = mlp

    def forward(self, x: Tensor, turn: Turn, ctx: StepContext) -> Tensor:  # [T, H] -> [T, H]
        x = x + self.self_attn(self.input_layernorm(x), turn, ctx)
        return x + self.mlp(self.post_attention_layernorm(x))
