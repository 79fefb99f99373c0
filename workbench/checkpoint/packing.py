"""Our own blocks, for the quantised matrices of other formats: the same numbers, in the order in which a CPU multiplies them.

A block holds numbers of one row behind their scale, see `OWN_TYPES`. `kernels/cpu/blocks.h` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.checkpoint.base import Blocks


@dataclass(frozen=True, slots=True)
class Scaled:
    """A matrix as other formats store it: number [i, j] = scale [i, g] * (code [i, j] - zero [i, g]), with g = j // group_len."""

    codes: Tensor
    """uint8 or int8 [out, in]; float8 e4m3 [out, in]."""
    scale: Tensor
    """float32 [out, groups]."""
    group_len: int
    """Numbers of a row that share a scale."""
    zero: Tensor | None = None
    """float32 [out, groups]; None: 0."""
    columns: Tensor | None = None
    """Column of the matrix for each column of `codes`, int64 [in]; None: in order."""

    def blocks(self) -> Blocks | None:
        """Returns the matrix in our blocks, its numbers unchanged; None where they cannot hold it."""
        width = self.codes.shape[1]
        block_len = next((size for size in (128, 32) if self.group_len % size == 0 and width % size == 0), 0)
        if not block_len:
            return None
        groups = torch.arange(0, width, block_len) // self.group_len
        scale = self.scale[:, groups]
        zero = torch.zeros_like(scale) if self.zero is None else self.zero[:, groups]
        if self.codes.dtype == torch.uint8:
            half = scale.half()
            if int(self.codes.max()) > 15 or not torch.equal(half.float(), scale):
                return None
            return self._packed(f"INT4_{block_len}", torch.stack((half, zero.half()), -1), two_a_byte(self.codes))
        if zero.any():
            return None
        type_name = "INT8" if self.codes.dtype == torch.int8 else "F8_E4M3"
        return self._packed(f"{type_name}_{block_len}", scale, self.codes.view(torch.uint8))

    def dense(self) -> Tensor:
        """Returns the numbers, float32 [out, in]."""
        groups = torch.arange(self.codes.shape[1]) // self.group_len
        numbers = self.codes.float()
        if self.zero is not None:
            numbers -= self.zero[:, groups]
        numbers *= self.scale[:, groups]
        return numbers if self.columns is None else numbers[:, self.columns.argsort()]

    def _packed(self, type_name: str, head: Tensor, payload: Tensor) -> Blocks:
        return pack(type_name, head, payload, tuple(self.codes.shape), self.columns)


def pack(type_name: str, head: Tensor, payload: Tensor, shape: tuple[int, ...], columns: Tensor | None = None) -> Blocks:
    """Returns blocks of a head each, [out, blocks] or [out, blocks, 2], and of `payload`, bytes of numbers [out, bytes]."""
    num_rows, num_blocks = head.shape[:2]
    parts = (head.contiguous().view(num_rows, num_blocks, -1).view(torch.uint8), payload.view(num_rows, num_blocks, -1))
    return Blocks(type_name, torch.cat(parts, -1).view(num_rows, -1), shape, columns=columns)


def two_a_byte(codes: Tensor) -> Tensor:
    """Returns codes below 16, each 32 in 16 bytes: low halves the first 16, high halves the others. uint8 [out, in / 2]."""
    first, second = codes.view(len(codes), -1, 2, 16).unbind(2)
    return (first | second << 4).flatten(1)


def unpacked(words: Tensor, bits: int) -> Tensor:
    """Returns the numbers of `bits` bits in int32 words [R, C], low bits first: uint8 [R, C * 32 // bits]."""
    data = words.contiguous().view(torch.uint8)
    if 8 % bits == 0:
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
        return (data[..., None] >> shifts & (1 << bits) - 1).flatten(1)
    single = (data[..., None] >> torch.arange(8, dtype=torch.uint8) & 1).flatten(1)  # [R, 32 C]
    single = single[:, : single.shape[1] // bits * bits].view(len(words), -1, bits)
    return (single << torch.arange(bits, dtype=torch.uint8)).sum(-1, dtype=torch.uint8)
