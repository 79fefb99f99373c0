"""Reads the tensors of a GGUF file: dense ones as they are, all others as their blocks. The file is mapped, not copied."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from workbench.checkpoint.base import Blocks, Stored
from workbench.checkpoint.dequantise import can_dequantise
from workbench.checkpoint.gguf_file import GgufFile, GgufTensor

DENSE = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}


class GgufCheckpoint:
    """A `Checkpoint` over a GGUF file, under the names of the file."""

    def __init__(self, file: GgufFile) -> None:
        self.path: Path = file.path
        self._file = file
        self.tensors = {name: _stored(tensor) for name, tensor in file.tensors.items()}

    def read(self, name: str, rows: slice | None = None) -> Tensor | Blocks:
        tensor = self._file.tensors[name]
        size = tensor.num_rows * tensor.row_bytes
        raw = torch.frombuffer(self._file.data, dtype=torch.uint8, count=size, offset=tensor.start)
        picked = raw.view(tensor.num_rows, tensor.row_bytes)
        shape = tensor.shape
        if rows is not None:
            each = tensor.num_rows // shape[0]  # of a stack of matrices, a row is a matrix
            picked = picked[rows.start * each : rows.stop * each]
            shape = (rows.stop - rows.start, *shape[1:])
        if tensor.type.name in DENSE:
            return picked.reshape(-1).view(DENSE[tensor.type.name]).view(shape)
        return Blocks(tensor.type.name, picked, shape)

    def __enter__(self) -> GgufCheckpoint:
        return self

    def __exit__(self, *error: object) -> None:
        """The mapping ends with the last tensor that lies in it."""


def _stored(tensor: GgufTensor) -> Stored:
    is_dense = tensor.type.name in DENSE
    return Stored(tensor.shape, tensor.type.name, is_dense, is_dense or can_dequantise(tensor.type.name))


def open_gguf(path: Path) -> GgufCheckpoint:
    """Opens a GGUF file. Raises as `GgufFile` does."""
    return GgufCheckpoint(GgufFile(path))
