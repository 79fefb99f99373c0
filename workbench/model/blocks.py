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
from workbench.model.linear import BlockWeight, FusedLinear, Linear
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
        """Makes the projections. `scale` is by default 1 over the root of the head size; `head_norm` makes the norm of a head."""
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

    def forward(self, x: Tensor, turn: Turn, ctx: StepContext, norm: RMSNorm, added: Tensor | None = None) -> Tensor:
        """Returns attention of norm(x) [T, H], plus `added`."""
        spec = self.spec
        heads = self.qkv(x, norm.norm).unflatten(-1, (-1, spec.head_size))  # [T, Hq + 2 Hkv, D]
        first_v = spec.num_heads + spec.num_kv_heads
        if self.q_norm is None or self.k_norm is None:
            q, k = rotate(heads[:, :first_v], *turn).tensor_split((spec.num_heads,), 1)
        else:
            q, k = heads[:, : spec.num_heads], heads[:, spec.num_heads : first_v]
            q, k = rotate(self.q_norm(q), *turn), rotate(self.k_norm(k), *turn)
        out = ctx.attention.attend(spec, q, k, heads[:, first_v:])  # [T, Hq, D]
        return self.o_proj(out.flatten(1), added=added)


class MLP(Layer):
    """down(activation(gate(x)) * up(x))."""

    def __init__(self, hidden_size: int, intermediate_size: int, activation: Activation, bias: bool = False) -> None:
        super().__init__()
        self.gate_up = FusedLinear(hidden_size, {"gate_proj": intermediate_size, "up_proj": intermediate_size}, bias)
        self.down_proj = Linear(intermediate_size, hidden_size, bias)
        self.activation, self.activate = activation, gated(activation)

    def forward(self, x: Tensor, norm: RMSNorm | None = None, added: Tensor | None = None) -> Tensor:
        """Returns the result for norm(x) [T, H], plus `added`."""
        up, down, before = self.gate_up, self.down_proj, None if norm is None else norm.norm
        if isinstance(up.weight, BlockWeight) and isinstance(down.weight, BlockWeight) and not up.has_bias and not down.has_bias:
            out = up.weight.matrix.gated(x, down.weight.matrix, self.activation, before, added)
            if out is not None:
                return out
        return down(self.activate(up(x, before)), added=added)


class Block(Layer):
    """x + attention(norm(x)), then x + mlp(norm(x)); both results may have a factor."""

    def __init__(self, config: ModelConfig, attention: Layer, mlp: Layer, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = attention
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = mlp

    def forward(self, x: Tensor, turn: Turn, ctx: StepContext) -> Tensor:  # [T, H] -> [T, H]
        if self.factor != 1:
            x = x + self.self_attn(x, turn, ctx, self.input_layernorm) * self.factor
            return x + self.mlp(x, self.post_attention_layernorm) * self.factor
        x = self.self_attn(x, turn, ctx, self.input_layernorm, added=x)
        out: Tensor = self.mlp(x, self.post_attention_layernorm, added=x)
        return out
