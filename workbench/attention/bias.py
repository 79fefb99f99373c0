"""Numbers that are added to the scores of attention, by head and by the positions of two tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class PositionBias(Protocol):
    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Returns the numbers [Hq, ...], float32, of tokens at positions `rows` that look at those at `columns`.

        The shape is that to which both broadcast. Minus infinity hides a token; none hides a token from itself.
        """


@dataclass(frozen=True)
class LinearBias:
    """Each head's scores fall with the distance, by a slope of its own (ALiBi)."""

    slopes: tuple[float, ...]

    @classmethod
    def of(cls, num_heads: int) -> LinearBias:
        """Returns the usual slopes: powers of one number; beyond a power of two heads, every other one of twice as many."""
        whole = 2 ** math.floor(math.log2(num_heads))
        slopes = [2 ** (-8 * (i + 1) / whole) for i in range(whole)]
        between = [2 ** (-4 * (2 * i + 1) / whole) for i in range(num_heads - whole)]
        return cls((*slopes, *between))

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        distance = (columns - rows).abs().float()
        return -torch.tensor(self.slopes, device=distance.device).view(-1, *[1] * distance.dim()) * distance


@dataclass(frozen=True)
class BlockSparse:
    """A token sees the last blocks of tokens, its own included, and of the blocks before them one in every few."""

    num_heads: int
    size: int
    """Tokens of a block."""
    num_last: int
    """Blocks that are seen whole, its own counted."""
    stride: int
    """Distance in blocks between those that are seen further back."""
    are_alike: bool
    """True: all heads see the same blocks; else the blocks further back differ from head to head."""

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        row, column = rows // self.size, columns // self.size
        step = 0 if self.are_alike else max(1, self.stride // self.num_heads)
        offsets = torch.arange(self.num_heads, device=row.device).view(-1, *[1] * (row - column).dim()) * step
        is_seen = (row - column < self.num_last) | ((column + offsets + 1) % self.stride == 0)
        return torch.zeros(is_seen.shape, device=row.device).masked_fill(~is_seen, float("-inf"))
