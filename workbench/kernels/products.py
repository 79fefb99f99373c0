"""Products with quantised blocks, computed as they lie in memory; compiled for a CPU, float32 and bfloat16.

For blocks of whole numbers, rows x are quantised too, to int8 with a scale for every 32 numbers. A result depends on its row of x
and its row of the weight alone: to the bit the same whatever rows are beside it, on any number of threads, with every
instruction set.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.kernels.compiled import library
from workbench.kernels.library import Function
from workbench.kernels.ops import NAMES, Norm

FORMATS = {
    "F32": 0, "F16": 1, "BF16": 30, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8,
    "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "IQ4_NL": 20, "IQ4_XS": 23,
    "INT4_32": 1000, "INT4_128": 1001, "INT8_32": 1002, "INT8_128": 1003, "F8_E4M3_32": 1004, "F8_E4M3_128": 1005, "NF4": 1006,
}  # fmt: skip
"""Types of blocks that have a compiled form, and their numbers: those of GGUF files, and from 1000 on our own."""
REAL = frozenset({"F32", "F16", "BF16", "F8_E4M3_32", "F8_E4M3_128", "NF4"})
"""Those whose numbers are multiplied with x as it is."""


ACTIVATIONS = {"silu": 0, "swish": 0, "gelu_new": 1, "gelu_fast": 1, "gelu_pytorch_tanh": 1}
"""Activations that `multiply_gated` has, and their numbers in cpu/rows.h."""


class Matrices:
    """Quantised matrices [out, in] with one input, as the kernels see them."""

    def __init__(self, width: int) -> None:
        """Makes room for matrices whose rows have `width` numbers."""
        self.width, self.num_rows = width, 0
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

    def multiply(self, x: Tensor, norm: Norm | None = None, added: Tensor | None = None) -> Tensor | None:
        """Returns norm(x) W^T + added: [..., in] -> [..., all out, in order], in the type of x.

        None where there is no compiled form.
        """
        call = _compiled("multiply_blocks", x, norm)
        if call is None:
            return None
        x, width = x.contiguous(), self.width
        out = torch.empty((*x.shape[:-1], self.num_rows), dtype=x.dtype)
        call(
            x.data_ptr(), *_norm(norm), self.address, _place(added), out.data_ptr(), x.numel() // width, width, self.num_parts,
            self.num_rows,
        )  # fmt: skip
        return out

    @property
    def address(self) -> int:
        return self._table.ctypes.data

    @property
    def num_parts(self) -> int:
        return len(self._table)

    def rows(self, ids: Tensor, dtype: torch.dtype) -> Tensor | None:
        """Returns the rows of blocks `ids` [T] of the first matrix: [T, width]; None where there is no compiled form."""
        out = torch.empty((len(ids), self.width), dtype=dtype)
        call = _compiled("read_rows", out)
        if call is None:
            return None
        call(self.address, ids.contiguous().data_ptr(), out.data_ptr(), len(ids), self.width)
        return out


def multiply_gated(
    x: Tensor, up: Matrices, down: Matrices, activation: str, norm: Norm | None, added: Tensor | None
) -> Tensor | None:
    """Returns (activation(gate) * up) W^T + added, with gate and up side by side in the product of norm(x) and the matrices `up`.

    [T, in] -> [T, out]. None where there is no compiled form.
    """
    call = _compiled("multiply_gated", x, norm)
    if call is None or activation not in ACTIVATIONS:
        return None
    x = x.contiguous()
    num_rows, width = x.shape
    out = torch.empty((num_rows, down.num_rows), dtype=x.dtype)
    call(
        x.data_ptr(), *_norm(norm), up.address, down.address, _place(added), out.data_ptr(), num_rows, width, up.num_rows // 2,
        down.num_rows, up.num_parts, down.num_parts, ACTIVATIONS[activation],
    )  # fmt: skip
    return out


class Experts:
    """Gated layers of one form, of which each row takes a few."""

    def __init__(self, layers: Sequence[tuple[Matrices, Matrices]], activation: str) -> None:
        """Takes of each expert gate and up side by side, and down. All have the same sizes."""
        self._held, self._activation = list(layers), activation
        first, last = layers[0]
        self._sizes = [len(layers), first.width, first.num_rows // 2, last.num_rows]
        # The struct `Expert` of cpu/products.cpp.
        rows = [[up.address, down.address, up.num_parts, down.num_parts] for up, down in layers]
        self._table = np.array(rows, dtype=np.int64)

    def multiply(self, x: Tensor, experts: Tensor, weights: Tensor) -> Tensor | None:
        """Returns the sum over each row's experts of weight times result: x [T, in], experts [T, k], weights [T, k] -> [T, out].

        None where there is no compiled form.
        """
        call = _compiled("multiply_experts", x)
        if call is None or self._activation not in ACTIVATIONS:
            return None
        x, experts, weights = x.contiguous(), experts.contiguous(), weights.float().contiguous()
        num, width, inner, size = self._sizes
        out = torch.empty((len(x), size), dtype=x.dtype)
        call(
            x.data_ptr(), self._table.ctypes.data, experts.data_ptr(), weights.data_ptr(), out.data_ptr(), *experts.shape, num,
            width, inner, size, ACTIVATIONS[self._activation],
        )  # fmt: skip
        return out


def _compiled(name: str, x: Tensor, norm: Norm | None = None) -> Function | None:
    loaded = library() if x.device.type == "cpu" and x.dtype in NAMES else None
    has_form = loaded is not None and (norm is None or norm.weight.dtype == x.dtype)
    return loaded.operations[name, NAMES[x.dtype]] if loaded is not None and has_form else None


def _norm(norm: Norm | None) -> tuple[int | None, float]:
    return (None, 0.0) if norm is None else (norm.weight.data_ptr(), norm.eps)


def _place(x: Tensor | None) -> int | None:
    if x is None:
        return None
    assert x.is_contiguous()
    return x.data_ptr()
