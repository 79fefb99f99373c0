"""Reads the tensors of a GGUF file: matrices as blocks, vectors as they are. The file is mapped, not copied."""

from __future__ import annotations

import mmap
from pathlib import Path

import torch
from torch import Tensor

from workbench.checkpoint.base import Blocks, Stored
from workbench.checkpoint.block_types import SCALES
from workbench.checkpoint.dequantise import can_dequantise
from workbench.checkpoint.files import GET_AGAIN
from workbench.checkpoint.gguf_file import GgufFile, GgufTensor, open_gguf_file
from workbench.errors import ModelCorrupt

DENSE = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}


FLOAT16_EXPONENT = 0x7C00


class GgufCheckpoint:
    """A `Checkpoint` over a GGUF file, under the names of the file."""

    def __init__(self, file: GgufFile) -> None:
        self.path: Path = file.path
        self._file = file
        self._data = [_mapped(path) for path in file.parts]
        self.tensors = {name: _stored(tensor) for name, tensor in file.tensors.items()}

    def read(self, name: str, rows: slice | None = None) -> Tensor | Blocks:
        tensor = self._file.tensors[name]
        raw = torch.frombuffer(self._data[tensor.part], dtype=torch.uint8, count=_num_bytes(tensor), offset=tensor.start)
        if tensor.type.name in DENSE and not _is_matrix(tensor):
            dense = raw.view(DENSE[tensor.type.name]).view(tensor.shape)
            return dense if rows is None else dense[rows]
        whole = Blocks(tensor.type.name, raw.view(tensor.num_rows, tensor.row_bytes), tensor.shape)
        return whole if rows is None else whole.cut(rows)

    def check_scales(self) -> None:
        """Raises ModelCorrupt for a matrix with a scale that is no finite number."""
        for name, tensor in self._file.tensors.items():
            place = SCALES.get(tensor.type.name)
            if place is None:
                continue
            count, mapped = _num_bytes(tensor) // 2, self._data[tensor.part]
            data = torch.frombuffer(mapped, dtype=torch.int16, count=count, offset=tensor.start)
            scales = data.view(-1, tensor.type.block_bytes // 2)[:, place.start // 2 : place.stop // 2]
            exponents = scales & FLOAT16_EXPONENT
            if int(exponents.max()) == FLOAT16_EXPONENT:
                bad = int((exponents == FLOAT16_EXPONENT).sum())
                many = f"{bad:,} of {scales.numel():,} scales"
                message = f"{self.path}: {name} ({tensor.type.name}) holds {many} that are no finite numbers"
                raise ModelCorrupt(message, hint=GET_AGAIN)

    def __enter__(self) -> GgufCheckpoint:
        return self

    def __exit__(self, *error: object) -> None:
        """Releases the file; its mapping ends with the last tensor that lies in it."""


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as stream:
        # Copy on write: torch requires a writable buffer, and no write reaches the file.
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)


def _num_bytes(tensor: GgufTensor) -> int:
    return tensor.num_rows * tensor.row_bytes


def _is_matrix(tensor: GgufTensor) -> bool:
    return len(tensor.shape) > 1 and can_dequantise(tensor.type.name)


def _stored(tensor: GgufTensor) -> Stored:
    is_dense = tensor.type.name in DENSE
    return Stored(tensor.shape, tensor.type.name, is_dense, is_dense or can_dequantise(tensor.type.name))


def open_gguf(path: Path) -> GgufCheckpoint:
    """Opens a GGUF file. Raises as `GgufFile` does."""
    return GgufCheckpoint(open_gguf_file(path))
