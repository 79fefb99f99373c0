"""Products with quantised blocks, computed as they lie in memory; compiled for a CPU, float32 and bfloat16.

For blocks of whole numbers, rows x are quantised too, to int8 with a scale for every 32 numbers. A result depends on its row of x
and its row of the weight alone: to the bit the same whatever rows are beside it, on any number of threads, with every
instruction set.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.kernels.compiled import library
from workbench.kernels.library import Function
from workbench.kernels.ops import NAMES

FORMATS = {
    "F32": 0, "F16": 1, "BF16": 30, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8,
    "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "IQ4_NL": 20, "IQ4_XS": 23,
    "INT4_32": 1000, "INT4_128": 1001, "INT8_32": 1002, "INT8_128": 1003, "F8_E4M3_32": 1004, "F8_E4M3_128": 1005, "NF4": 1006,
}  # fmt: skip
"""Types of blocks that have a compiled form, and their numbers: those of GGUF files, and from 1000 on our own."""
REAL = frozenset({"F32", "F16", "BF16", "F8_E4M3_32", "F8_E4M3_128", "NF4"})
"""Those whose numbers are multiplied with x as it is."""


class Matrices:
    """Quantised matrices [out, in] with one input, as the kernels see them."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._described: list[list[int]] = []
        self._held: list[Tensor] = []
        self._table: npt.NDArray[np.int64] = np.empty((0, 6), np.int64)

    def add(self, type_name: str, data: Tensor, places: Tensor | None) -> None:
        """Adds a matrix: blocks uint8 [out, bytes of a row], and for each row the place of its result (int32 [out])."""
        self._held += [data] if places is None else [data, places]
        place = 0 if places is None else places.data_ptr()
        # The struct `Part` of cpu/products.cpp.
        self._described.append([data.data_ptr(), data.stride(0), len(data), FORMATS[type_name], place, self.num_rows])
        self._table = np.array(self._described, dtype=np.int64)
        self.num_rows += len(data)

    def multiply(self, x: Tensor) -> Tensor | None:
        """Returns x W^T: [..., in] -> [..., all out, in order], in the type of x; None where there is no compiled form."""
        call = _compiled("multiply_blocks", x)
        if call is None:
            return None
        x = x.contiguous()
        out = torch.empty((*x.shape[:-1], self.num_rows), dtype=x.dtype)
        width = x.shape[-1]
        call(x.data_ptr(), self._table.ctypes.data, out.data_ptr(), x.numel() // width, width, len(self._table), self.num_rows)
        return out

    def rows(self, ids: Tensor, width: int, dtype: torch.dtype) -> Tensor | None:
        """Returns the rows of blocks `ids` [T] of the first matrix: [T, width]; None where there is no compiled form."""
        out = torch.empty((len(ids), width), dtype=dtype)
        call = _compiled("read_rows", out)
        if call is None:
            return None
        call(self._table.ctypes.data, ids.contiguous().data_ptr(), out.data_ptr(), len(ids), width)
        return out


def _compiled(name: str, x: Tensor) -> Function | None:
    loaded = library() if x.device.type == "cpu" and x.dtype in NAMES else None
    return None if loaded is None else loaded.operations[name, NAMES[x.dtype]]
