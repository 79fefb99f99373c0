"""The parts that most decoders are made of: attention, MLPs, and the blocks of both, by where their norms stand."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from workbench.attention.base import StepContext
from workbench.attention.bias import PositionBias
from workbench.attention.spec import AttentionSpec
from workbench.checkpoint.weights import Weights
from workbench.model.config import Activation, ModelConfig
from workbench.model.layer import Layer
from workbench.model.layers import ACTIVATIONS, AnyNorm, RMSNorm, before_product, gated
from workbench.model.linear import BlockWeight, FusedLinear, Linear
from workbench.model.rotary import Turn, rotate_part


class Attention(Layer):
    """Grouped-query attention over rotated queries and keys."""

    def __init__(
        self,
        config: ModelConfig,
        layer: int,
        *,
        scale: float | None = None,
        window: int | None = None,
        softcap: float | None = None,
        qkv_bias: bool = False,
        o_bias: bool = False,
        head_norm: Callable[[int, int], Layer] | None = None,
        clip: float | None = None,
        has_sinks: bool = False,
        bias: PositionBias | None = None,
    ) -> None:
        """Makes the projections.

        `scale` is by default 1 over the root of the head size; `head_norm` makes the norm of (number of heads, their size).
        Queries, keys and values are clipped to the size `clip`, after their norms. Each head may have a sink, see `attend`.
        `bias` is added to scores by position.
        """
        super().__init__()
        num_heads, num_kv_heads, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.spec = AttentionSpec(
            layer=layer, num_heads=num_heads, num_kv_heads=num_kv_heads, head_size=size, v_head_size=size,
            scale=size**-0.5 if scale is None else scale, window=window, softcap=softcap, bias=bias,
        )  # fmt: skip
        parts = {"q_proj": num_heads * size, "k_proj": num_kv_heads * size, "v_proj": num_kv_heads * size}
        self.qkv = FusedLinear(config.hidden_size, parts, qkv_bias)
        self.o_proj = Linear(num_heads * size, config.hidden_size, o_bias)
        self.q_norm = head_norm(num_heads, size) if head_norm else None
        self.k_norm = head_norm(num_kv_heads, size) if head_norm else None
        self.clip, self.has_sinks = clip, has_sinks
        self.sinks: Tensor | None = None

    def load(self, weights: Weights) -> None:
        super().load(weights)
        if self.has_sinks:
            self.sinks = weights.tensor("sinks", self.spec.num_heads)

    def forward(
        self, x: Tensor, turn: Turn | None, ctx: StepContext, norm: AnyNorm | None = None, added: Tensor | None = None
    ) -> Tensor:
        """Returns attention of norm(x) [T, H], plus `added`. Without a `turn`, queries and keys know no positions."""
        spec = self.spec
        x, folded = before_product(norm, x)
        heads = self.qkv(x, folded).unflatten(-1, (-1, spec.head_size))  # [T, Hq + 2 Hkv, D]
        first_v = spec.num_heads + spec.num_kv_heads
        if self.q_norm is None or self.k_norm is None:
            heads = self._clipped(heads)
            q, k = rotate_part(heads[:, :first_v], turn).tensor_split((spec.num_heads,), 1)
        else:
            q, k = self.q_norm(heads[:, : spec.num_heads]), self.k_norm(heads[:, spec.num_heads : first_v])
            q, k = (rotate_part(self._clipped(x), turn) for x in (q, k))
            heads = self._clipped(heads)
        out = ctx.attention.attend(spec, q, k, heads[:, first_v:], self.sinks)  # [T, Hq, D]
        return self.o_proj(out.flatten(1), added=added)

    def _clipped(self, x: Tensor) -> Tensor:
        return x if self.clip is None else x.clamp(-self.clip, self.clip)


class MLP(Layer):
    """down(activation(gate(x)) * up(x))."""

    def __init__(self, hidden_size: int, intermediate_size: int, activation: Activation, bias: bool = False) -> None:
        super().__init__()
        self.gate_up = FusedLinear(hidden_size, {"gate_proj": intermediate_size, "up_proj": intermediate_size}, bias)
        self.down_proj = Linear(intermediate_size, hidden_size, bias)
        self.activation, self.activate = activation, gated(activation)

    def forward(self, x: Tensor, norm: AnyNorm | None = None, added: Tensor | None = None) -> Tensor:
        """Returns the result for norm(x) [T, H], plus `added`."""
        up, down = self.gate_up, self.down_proj
        x, folded = before_product(norm, x)
        if isinstance(up.weight, BlockWeight) and isinstance(down.weight, BlockWeight) and not up.has_bias and not down.has_bias:
            out = up.weight.matrix.gated(x, down.weight.matrix, self.activation, folded, added)
            if out is not None:
                return out
        return down(self.activate(up(x, folded)), added=added)


class UngatedMLP(Layer):
    """down(activation(up(x)))."""

    def __init__(self, hidden_size: int, intermediate_size: int, activation: Activation, bias: bool = True) -> None:
        super().__init__()
        self.up_proj = Linear(hidden_size, intermediate_size, bias)
        self.down_proj = Linear(intermediate_size, hidden_size, bias)
        self.activate = ACTIVATIONS[activation]

    def forward(self, x: Tensor, norm: AnyNorm | None = None, added: Tensor | None = None) -> Tensor:
        """Returns the result for norm(x) [T, H], plus `added`."""
        x, folded = before_product(norm, x)
        return self.down_proj(self.activate(self.up_proj(x, folded)), added=added)


class Block(Layer):
    """x + attention(norm(x)), then x + mlp(norm(x)); what is added may be scaled."""

    def __init__(
        self,
        config: ModelConfig,
        attention: Layer,
        mlp: Layer,
        norm: Callable[[int], AnyNorm] | None = None,
        added_scale: float = 1.0,
    ) -> None:
        """Makes the norms by `norm`, from a size; by default those by the root mean square."""
        super().__init__()
        self.input_layernorm = norm(config.hidden_size) if norm else RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = attention
        self.post_attention_layernorm = norm(config.hidden_size) if norm else RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = mlp
        self.added_scale = added_scale

    def forward(self, x: Tensor, turn: Turn | None, ctx: StepContext) -> Tensor:  # [T, H] -> [T, H]
        out: Tensor
        if self.added_scale == 1:
            x = self.self_attn(x, turn, ctx, self.input_layernorm, added=x)
            out = self.mlp(x, self.post_attention_layernorm, added=x)
            return out
        x = x + self.self_attn(x, turn, ctx, self.input_layernorm) * self.added_scale
        out = x + self.mlp(x, self.post_attention_layernorm) * self.added_scale
        return out


class SandwichBlock(Layer):
    """x + norm(attention(norm(x))), then x + norm(mlp(norm(x))); with `before` false, without the inner norms."""

    def __init__(
        self, config: ModelConfig, attention: Layer, mlp: Layer, norm: Callable[[int], AnyNorm], before: bool = True
    ) -> None:
        super().__init__()
        size = config.hidden_size
        self.input_layernorm = norm(size) if before else None
        self.self_attn = attention
        self.post_attention_layernorm = norm(size)
        self.pre_feedforward_layernorm = norm(size) if before else None
        self.mlp = mlp
        self.post_feedforward_layernorm = norm(size)

    def forward(self, x: Tensor, turn: Turn | None, ctx: StepContext) -> Tensor:  # [T, H] -> [T, H]
        x = x + self.post_attention_layernorm(self.self_attn(x, turn, ctx, self.input_layernorm))
        out: Tensor = x + self.post_feedforward_layernorm(self.mlp(x, self.pre_feedforward_layernorm))
        return out


class ParallelBlock(Layer):
    """x + attention(norm(x)) + mlp(norm(x)), of one norm."""

    def __init__(self, config: ModelConfig, attention: Layer, mlp: Layer, norm: Callable[[int], AnyNorm]) -> None:
        super().__init__()
        self.input_layernorm = norm(config.hidden_size)
        self.self_attn = attention
        self.mlp = mlp

    def forward(self, x: Tensor, turn: Turn | None, ctx: StepContext) -> Tensor:  # [T, H] -> [T, H]
        normed = self.input_layernorm(x)
        out: Tensor = self.mlp(normed, added=self.self_attn(normed, turn, ctx, added=x))
        return out
