"""The settings of one attention layer, as a value that the layer makes once."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.attention.bias import PositionBias


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSpec:
    """Settings that turn scores s = q k into weights: softmax(scale * s), with a cap softmax(c * tanh(scale * s / c))."""

    layer: int
    """Index of the layer, and of its K/V in the store."""
    num_heads: int
    num_kv_heads: int
    """Divisor of `num_heads`: the quotient is the number of neighbouring query heads that share one K/V head."""
    head_size: int
    """Numbers of one head in a query and in a key."""
    v_head_size: int
    """Numbers of one head in a value and in the result."""
    v_in_k: bool = False
    """True: a value is the first numbers of its key, and the store keeps nothing else (multi-head latent attention)."""
    scale: float
    window: int | None = None
    """Positions that a token sees, its own counted (sliding window); None is all. An encoder sees as many to each side."""
    softcap: float | None = None
    """The cap c on the size of a score; None is no cap."""
    bias: PositionBias | None = None
    """Numbers that are added to scaled scores by position; without a window and a cap."""

    def __post_init__(self) -> None:
        assert not self.v_in_k or self.v_head_size <= self.head_size
        assert self.bias is None or (self.window is None and self.softcap is None)
        assert self.num_heads % self.num_kv_heads == 0, f"{self.num_heads} query heads over {self.num_kv_heads} K/V heads"
