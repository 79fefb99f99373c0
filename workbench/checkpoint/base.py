"""The contract of a checkpoint: tensors by name, each with its shape and type, read dense or as quantised blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from workbench.checkpoint.dequantise import dequantise


@dataclass(frozen=True, slots=True)
class Stored:
    """Shape and type of one tensor in a file, known before it is read."""

    shape: tuple[int, ...]
    """Outermost size first, as in PyTorch."""
    type: str
    """As the format calls it: "BF16", "F8_E4M3", "Q4_K"."""
    is_dense: bool
    """True for floating-point numbers, False for quantised blocks and whatever else cannot be multiplied as it is."""
    is_readable: bool = True
    """False for a type that neither is dense nor can be dequantised here."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A quantised tensor as its file holds it: every row is a sequence of blocks of equal size."""

    type: str
    data: Tensor
    """uint8 [rows, bytes of a row]."""
    shape: tuple[int, ...]
    order: Tensor | None = None
    """Row of `data` for each row of a matrix, int64; None: in order. So a file's own order costs no copy."""
    columns: Tensor | None = None
    """Column of a matrix for each number of a row of `data`, int64; None: in order."""

    def cut(self, rows: slice) -> Blocks:
        """Returns the rows [start, stop) of the tensor; of a stack of matrices, a row is a matrix."""
        shape = (rows.stop - rows.start, *self.shape[1:])
        if self.order is not None:
            return Blocks(self.type, self.data[self.order[rows]], shape, columns=self.columns)
        each = len(self.data) // self.shape[0]
        return Blocks(self.type, self.data[rows.start * each : rows.stop * each], shape, columns=self.columns)

    def unstacked(self) -> Blocks:
        """Returns the matrix of a stack of one."""
        return Blocks(self.type, self.data, self.shape[1:], self.order, self.columns)

    def dense(self) -> Tensor:
        """Returns the numbers, float32, of this shape."""
        out = torch.empty(self.shape)
        dequantise(self.type, self.data, out)
        out = out if self.order is None else out[self.order]
        return out if self.columns is None else out[:, self.columns.argsort()]


class Checkpoint(Protocol):
    """The weights of one model, opened. A context manager: the files are closed at its end."""

    path: Path
    """The folder or file, for messages."""

    @property
    def tensors(self) -> Mapping[str, Stored]:
        """All tensors, by the names of the file."""

    def read(self, name: str, rows: slice | None = None) -> Tensor | Blocks:
        """Returns a tensor, or the rows [start, stop) of it: dense in its own type, or as blocks."""

    def __enter__(self) -> Checkpoint: ...
    def __exit__(self, *error: object) -> None: ...
