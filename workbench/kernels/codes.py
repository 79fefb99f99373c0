"""Numbers kept in 8 bits each, with their scales. Here is how torch reads and rounds them; `cpu/codes.h` does the same."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CODES = {"fp8_e5m2": torch.float8_e5m2, "fp8_e4m3": torch.float8_e4m3fn, "int8": torch.int8}
"""Types of the numbers, by the name of a setting."""
FORMATS = {dtype: number for number, dtype in enumerate(CODES.values(), start=1)}
"""Numbers by which the compiled operations know them; 0 are dense numbers."""
MOST = 127
"""Largest integer that a number is rounded to; the smallest is its opposite."""


@dataclass(frozen=True, slots=True)
class Codes:
    """K or V of one layer [slots, Hkv, D] in 8 bits. What is read is number times scale.

    Integers have a scale for each slot and head, which `write` finds: the largest number becomes 127. A row with NaN or
    infinity is read as NaN. Small floats share one scale; a number that is too large becomes the largest, and NaN stays NaN.
    """

    numbers: Tensor  # [slots, Hkv, D] of a type in CODES
    scales: Tensor  # [slots, Hkv] float32, of small floats one number expanded to that
    dtype: torch.dtype
    """Type that is read."""

    @property
    def shape(self) -> torch.Size:
        return self.numbers.shape

    @property
    def format(self) -> int:
        return FORMATS[self.numbers.dtype]

    def is_contiguous(self) -> bool:
        return self.numbers.is_contiguous()

    def read(self, at: slice | Tensor = slice(None)) -> Tensor:
        """Returns the numbers of some slots [S, Hkv, D]."""
        # As bytes: torch does not index its small floats on every device.
        numbers = self.numbers.view(torch.uint8)[at].view(self.numbers.dtype)
        return (numbers.float() * self.scales[at, :, None]).to(self.dtype)

    def part(self, at: slice) -> Codes:
        """Returns a view of some slots."""
        return Codes(self.numbers[at], self.scales[at], self.dtype)

    def first(self, size: int) -> Codes:
        """Returns a view of the first `size` numbers of each head."""
        return Codes(self.numbers[..., :size], self.scales, self.dtype)

    def write(self, slots: Tensor, rows: Tensor) -> None:
        """Changes: rows [T, Hkv, D] go to `slots` [T], rounded."""
        kind, x = self.numbers.dtype, rows.float()
        if kind == torch.int8:
            largest = x.abs().amax(-1)
            scales = torch.where(largest.isfinite(), largest / MOST, torch.nan)
            self.scales[slots] = scales
            x = x / torch.where(scales > 0, scales, torch.inf)[..., None]
            rounded = x.nan_to_num().round().clamp(-MOST, MOST).to(kind)
        else:
            largest_code = torch.finfo(kind).max
            rounded = (x / self.scales[slots, :, None]).clamp(-largest_code, largest_code).to(kind)
        self.numbers.view(torch.uint8)[slots] = rounded.view(torch.uint8)


Rows = Tensor | Codes
"""K or V of one layer [slots, Hkv, D]: dense, or in 8 bits."""


def read_rows(rows: Rows, at: slice | Tensor) -> Tensor:
    """Returns the numbers of some slots, [S, Hkv, D]; a view where they are dense and neighbours."""
    if isinstance(rows, Codes):
        return rows.read(at)
    return rows[at] if isinstance(at, slice) else rows.index_select(0, at)


def part_of(rows: Rows, at: slice) -> Rows:
    """Returns a view of some slots."""
    return rows.part(at) if isinstance(rows, Codes) else rows[at]
