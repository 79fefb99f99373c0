"""Rotary position embeddings: their frequencies, and tables of cos and sin for the positions of a step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workbench.errors import ModelCorrupt
from workbench.kernels.ops import rotate
from workbench.model.rope import Rope, longrope_scale, yarn_growth

Turn = tuple[Tensor, Tensor]
"""cos and sin [T, 1, R] of one step; R is the size of a head, or of its part that is rotated."""


class Rotary:
    """Rotary position embedding in the half-split layout; the tables grow to the longest position seen."""

    def __init__(
        self,
        head_dim: int,
        rope: Rope,
        max_positions: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        num_positions: int | None = None,
    ) -> None:
        """Rotates heads of `head_dim`. `max_positions` is the model's number, `num_positions` that of the engine: its longest
        text; None is the model's."""
        self._inv_freq, self._scale = frequencies(head_dim, rope, max_positions, num_positions)
        self._dtype, self._device = dtype, device
        self._axis = _axis_of_each(rope.mrope_section, len(self._inv_freq)).to(device) if rope.mrope_section else None
        self.cos = self.sin = torch.empty(0)
        self._build(min(max_positions, 4096))

    def _build(self, num_positions: int) -> None:
        angles = torch.outer(torch.arange(num_positions, dtype=torch.float32), self._inv_freq)
        angles = torch.cat((angles, angles), -1)  # [positions, D]
        self.cos = (angles.cos() * self._scale).to(self._device, self._dtype)
        self.sin = (angles.sin() * self._scale).to(self._device, self._dtype)

    def at(self, positions: Tensor, axes: Tensor | None = None) -> Turn:
        """Returns the cos and sin of one step, which all layers share. Changes: may make the tables longer.

        `axes` [3, T] are the positions by time, height and width, for a rope whose frequencies turn by these.
        """
        if axes is not None and self._axis is not None:
            self._reach(axes)
            each, numbers = axes[self._axis].T, torch.arange(len(self._axis), device=axes.device)  # [T, R], [R]
            return self.cos[each, numbers][:, None], self.sin[each, numbers][:, None]
        self._reach(positions)
        return self.cos[positions, None], self.sin[positions, None]

    def _reach(self, positions: Tensor) -> None:
        highest = int(positions.max()) + 1
        if highest > self.cos.shape[0]:
            self._build(1 << (highest - 1).bit_length())


def _axis_of_each(sections: tuple[int, ...], num_frequencies: int) -> Tensor:
    """Returns the axis by which each number of a head turns [R]. Raises ModelCorrupt for another number of frequencies."""
    if sum(sections) != num_frequencies:
        raise ModelCorrupt(f"config.json has mrope_section = {list(sections)} for {num_frequencies} frequencies")
    axis = [i % 3 for i, count in enumerate(sections) for _ in range(count)]
    return torch.tensor(axis * 2)


def rotate_part(x: Tensor, turn: Turn | None) -> Tensor:
    """Returns x [T, heads, D] with the first numbers of each head turned, as many as `turn` has; None turns nothing."""
    if turn is None:
        return x
    cos, sin = turn
    size = cos.shape[-1]
    if size == x.shape[-1]:
        return rotate(x, cos, sin)
    return torch.cat((rotate(x[..., :size], cos, sin), x[..., size:]), -1)


def frequencies(head_dim: int, rope: Rope, max_positions: int, num_positions: int | None = None) -> tuple[Tensor, float]:
    """Returns (inverse frequencies [R / 2], factor on cos and sin).

    Two kinds depend on the length of the text. K/V are shared by texts of all lengths, so there it is the length of the longest.
    """
    theta, size = float(rope.rope_theta), int(head_dim * rope.partial_rotary_factor)
    longest = num_positions or max_positions
    if rope.rope_type == "dynamic" and longest > max_positions:
        theta *= (rope.factor * longest / max_positions - (rope.factor - 1)) ** (size / (size - 2))
    inv_freq = 1.0 / theta ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    original = float(rope.original_max_position_embeddings or max_positions)
    if rope.rope_type == "linear":
        return inv_freq / rope.factor, 1.0
    if rope.rope_type == "llama3":
        return _llama3(inv_freq, rope, original), 1.0
    if rope.rope_type == "yarn":
        return _yarn(inv_freq, rope, original), _yarn_scale(rope)
    if rope.rope_type == "longrope":
        divisors = rope.long_factor if longest > original else rope.short_factor
        if len(divisors) != len(inv_freq):
            raise ModelCorrupt(f"config.json has {len(divisors)} factors of longrope for {len(inv_freq)} frequencies")
        stated = rope.long_mscale if longest > original else rope.short_mscale
        return inv_freq / torch.tensor(divisors), stated or longrope_scale(rope, max_positions, original)
    return inv_freq, 1.0


def _llama3(inv_freq: Tensor, rope: Rope, original: float) -> Tensor:
    """Stretches long wavelengths by the factor, keeps short ones and blends those between (Llama 3.1)."""
    wavelength = 2 * math.pi / inv_freq
    blend = ((original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)).clamp(0, 1)
    return inv_freq / rope.factor * (1 - blend) + inv_freq * blend


def _yarn(inv_freq: Tensor, rope: Rope, original: float) -> Tensor:
    """Keeps frequencies that turn often within the trained length, stretches slow ones, with a ramp between (YaRN)."""
    half, last = len(inv_freq), 2 * len(inv_freq) - 1

    def index_of(num_turns: float) -> float:
        """Returns the index of the frequency that turns so often within the trained length."""
        return half * math.log(original / (num_turns * 2 * math.pi)) / math.log(rope.rope_theta)

    low, high = index_of(rope.beta_fast or 32), index_of(rope.beta_slow or 1)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, last)
    stretched = ((torch.arange(half, dtype=torch.float32) - low) / max(high - low, 0.001)).clamp(0, 1)
    return inv_freq / rope.factor * stretched + inv_freq * (1 - stretched)


def _yarn_scale(rope: Rope) -> float:
    """Returns the factor on cos and sin: as stated, or from the stretch."""
    if rope.attention_factor is not None:
        return float(rope.attention_factor)
    above, below = rope.mscale, rope.mscale_all_dim
    return yarn_growth(rope.factor, above) / yarn_growth(rope.factor, below) if above and below else yarn_growth(rope.factor, 1.0)
