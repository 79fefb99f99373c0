"""Weights that stay the quantised blocks of their file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.checkpoint.base import Blocks
from workbench.kernels.ops import Norm
from workbench.kernels.products import Matrices, multiply_gated


class BlockMatrix:
    """Quantised matrices [out, in] with one input, whose results stand side by side.

    Where nothing is compiled, their dense forms are made for each product. All have the same order of columns.
    """

    def __init__(self, parts: Sequence[Blocks]) -> None:
        self._parts = tuple(parts)
        self._columns = parts[0].columns
        self.matrices = Matrices(parts[0].shape[1])
        for part in parts:
            self.matrices.add(part.type, part.data, None if part.order is None else part.order.argsort().int())
        self.width = parts[0].shape[1]
        self.nbytes = sum(part.data.nbytes for part in parts)

    @property
    def is_in_order(self) -> bool:
        """True if the columns are those of the input, in order."""
        return self._columns is None

    def multiply(self, x: Tensor, norm: Norm | None = None, added: Tensor | None = None) -> Tensor:
        """Returns norm(x) W^T + added: [..., in] -> [..., out], in the type of x."""
        if self._columns is not None:
            x, norm = (x if norm is None else norm(x))[..., self._columns], None
        out = self.matrices.multiply(x, norm, added)
        if out is not None:
            return out
        x = x if norm is None else norm(x)
        out = torch.cat([F.linear(x, replace(part, columns=None).dense().to(x.dtype)) for part in self._parts], -1)
        return out if added is None else out + added

    def gated(self, x: Tensor, down: BlockMatrix, activation: str, norm: Norm | None, added: Tensor | None) -> Tensor | None:
        """Returns the result of a gated layer, of which this is the first matrix; None where it has no compiled form."""
        if self._columns is not None or down._columns is not None:
            return None
        return multiply_gated(x, self.matrices, down.matrices, activation, norm, added)

    def rows(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns rows `ids` [T] of the first matrix: [T, in]."""
        first = self._parts[0]
        ids = ids if first.order is None else first.order[ids]
        out = self.matrices.rows(ids, dtype)
        return Blocks(first.type, first.data[ids], (len(ids), self.width)).dense().to(dtype) if out is None else out

    def holds(self, other: Blocks) -> bool:
        """Returns whether this is one matrix, of the same blocks as `other`."""
        first = self._parts[0]
        return len(self._parts) == 1 and first.type == other.type and torch.equal(first.data, other.data)


def side_by_side(parts: Sequence[Tensor | Blocks], dtype: torch.dtype) -> Tensor | BlockMatrix:
    """Returns one matrix of several with one input: of blocks, if all are in the same order of columns, else dense in `dtype`."""
    blocks = [part for part in parts if isinstance(part, Blocks)]
    if len(blocks) == len(parts) and all(_same(part.columns, blocks[0].columns) for part in blocks):
        return BlockMatrix(blocks)
    return torch.cat([part.dense().to(dtype) if isinstance(part, Blocks) else part for part in parts])


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))
