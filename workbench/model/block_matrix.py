"""Weights that stay the quantised blocks of their file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.checkpoint.base import Blocks
from workbench.kernels.products import Matrices


class BlockMatrix:
    """Quantised matrices [out, in] with one input, whose results stand side by side.

    Where nothing is compiled, their dense forms are made for each product.
    """

    def __init__(self, parts: Sequence[Blocks]) -> None:
        self._parts = tuple(parts)
        self._matrices = Matrices()
        for part in parts:
            self._matrices.add(part.type, part.data, None if part.order is None else part.order.argsort().int())
        self.width = parts[0].shape[1]
        self.nbytes = sum(part.data.nbytes for part in parts)

    def multiply(self, x: Tensor) -> Tensor:
        """Returns x W^T: [..., in] -> [..., out], in the type of x."""
        out = self._matrices.multiply(x)
        return torch.cat([F.linear(x, part.dense().to(x.dtype)) for part in self._parts], -1) if out is None else out

    def rows(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns rows `ids` [T] of the first matrix: [T, in]."""
        first = self._parts[0]
        ids = ids if first.order is None else first.order[ids]
        out = self._matrices.rows(ids, self.width, dtype)
        return Blocks(first.type, first.data[ids], (len(ids), self.width)).dense().to(dtype) if out is None else out

    def holds(self, other: Blocks) -> bool:
        """Returns whether this is one matrix, of the same blocks as `other`."""
        first = self._parts[0]
        return len(self._parts) == 1 and first.type == other.type and torch.equal(first.data, other.data)
