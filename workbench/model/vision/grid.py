"""Arithmetic on grids of patches: places, the order in which towers read them, windows and turns. No weights.

A grid is (frames, rows, columns) of patches; a picture has one frame. With a merge size m, the m * m patches that become one
token follow each other: tokens row by row, and the patches of a token row by row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.model.rotary import Turn

Grid = tuple[int, int, int]


def places(grids: Sequence[Grid], merge: int = 1) -> Tensor:
    """Returns (row, column) of every patch [N, 2], in the order of merging."""
    return torch.cat([_places(grid, merge) for grid in grids])


def _places(grid: Grid, merge: int) -> Tensor:
    frames, rows, columns = grid
    both = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).view(rows, columns, 2)
    tokens = both.unflatten(0, (-1, merge)).unflatten(2, (-1, merge)).transpose(1, 2)  # [rows, columns, m, m, 2] of tokens
    return tokens.reshape(-1, 2).repeat(frames, 1)


def frame_lengths(grids: Sequence[Grid]) -> list[int]:
    """Returns the number of patches of each frame: what attends together."""
    return [rows * columns for frames, rows, columns in grids for _ in range(frames)]


def turns(at: Tensor, size: int, theta: float, *, interleaved: bool, dtype: torch.dtype) -> Turn:
    """Returns the turn of heads of `size` for places `at` [N, 2]: rows turn one half of the frequencies, columns the other.

    Both halves have the same frequencies, the even ones of a head's; `interleaved`, columns have the odd ones.
    """
    all_ = 1.0 / theta ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    by_row, by_column = all_[0::2], all_[1::2] if interleaved else all_[0::2]
    angles = torch.cat((at[:, :1] * by_row.to(at.device), at[:, 1:] * by_column.to(at.device)), -1).repeat(1, 2)[:, None]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def windows(grids: Sequence[Grid], side: int) -> tuple[Tensor, list[int]]:
    """Returns (tokens [N], window by window; number of tokens of each window). Windows are squares of side * side tokens."""
    order: list[Tensor] = []
    lengths: list[int] = []
    first = 0
    for frames, rows, columns in grids:
        tokens = torch.arange(frames * rows * columns).view(frames, rows, columns)
        padded = F.pad(tokens, (0, -columns % side, 0, -rows % side), value=-1)
        cut = padded.unflatten(1, (-1, side)).unflatten(3, (-1, side)).transpose(2, 3).reshape(-1, side * side)
        lengths += (cut >= 0).sum(1).tolist()
        order.append(cut[cut >= 0] + first)
        first += tokens.numel()
    return torch.cat(order), lengths


def shuffled(x: Tensor, rows: int, columns: int, factor: int) -> Tensor:
    """Returns patches [B, rows * columns, H] with those of one token side by side: [B, tokens, factor^2 * H]."""
    cells = x.unflatten(1, (rows // factor, factor, columns // factor, factor)).transpose(2, 3)
    return cells.flatten(3).flatten(1, 2)
