"""All layers of a decode step in one call, for a model whose layers are blocks of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from workbench.kernels.codes import Codes, Rows
from workbench.kernels.ops import HEAD_SIZES, NAMES, Norm, compiled
from workbench.kernels.products import ACTIVATIONS, Matrices


@dataclass(frozen=True)
class DecodeLayer:
    attention_norm: Norm
    qkv: Matrices
    o: Matrices
    mlp_norm: Norm
    up: Matrices
    down: Matrices
    k: Rows
    v: Rows


@dataclass(frozen=True)
class DecodeShape:
    num_heads: int
    num_kv_heads: int
    head_size: int
    scale: float
    activation: str


class DecodeContexts(NamedTuple):
    """The slots that each row of a decode step attends to: a list of its own, the last its new one, and runs that rows share."""

    slots: Tensor  # [sum of lengths]
    starts: Tensor  # [T + 1], of each row's list
    runs: Tensor  # [R, 4]: first slot, end, then the place of its first row in `run_rows` and the number of its rows
    run_rows: Tensor  # [sum of numbers of rows], ascending in each run


class DecodeLayers:
    """The layers, as the kernels see them."""

    def __init__(self, layers: Sequence[DecodeLayer], shape: DecodeShape) -> None:
        self._layers, self._shape = layers, shape  # held: the table has their addresses
        self._table = np.array([_row(layer) for layer in layers], dtype=np.int64)
        first = layers[0]
        self._dtype, self._eps = first.attention_norm.weight.dtype, first.attention_norm.eps
        self._inner = first.down.width
        self._format = first.k.format if isinstance(first.k, Codes) else 0

    @staticmethod
    def can_be(layers: Sequence[DecodeLayer], shape: DecodeShape) -> bool:
        """Returns whether the layers have a compiled form: one type, one shape, and numbers that lie as the kernels read them."""
        first, attended = layers[0], shape.num_heads * shape.head_size
        alike = all(
            (one.attention_norm.eps, one.mlp_norm.eps) == (first.attention_norm.eps,) * 2
            and one.attention_norm.weight.dtype == one.mlp_norm.weight.dtype == one.k.dtype == one.v.dtype == first.k.dtype
            and one.k.shape[1:] == one.v.shape[1:] == (shape.num_kv_heads, shape.head_size)
            and (one.qkv.width, one.o.width, one.down.width) == (first.qkv.width, attended, first.down.width)
            for one in layers
        )
        return alike and shape.head_size in HEAD_SIZES and first.k.dtype in NAMES and shape.activation in ACTIVATIONS

    def run(self, x: Tensor, turn: tuple[Tensor, Tensor], new_slots: Tensor, contexts: DecodeContexts) -> bool:
        """Changes: x [T, H] goes through all layers, and its K and V into the store. Returns False where nothing is compiled.

        `turn` has the cos and sin [T, 1, D] of each row, new_slots [T] the slot of its own K and V.
        """
        call = compiled("decode_layers", x, x.shape[-1])
        if call is None or x.dtype != self._dtype or turn[0].dtype != x.dtype:
            return False
        shape, (cos, sin) = self._shape, turn
        tensors = [one.data_ptr() for one in (x, cos, sin, new_slots, *contexts)]
        sizes = [
            len(contexts.runs),
            len(self._table),
            *x.shape,
            self._inner,
            shape.num_heads,
            shape.num_kv_heads,
            shape.head_size,
        ]
        call(self._table.ctypes.data, *tensors, *sizes, self._format, ACTIVATIONS[shape.activation], self._eps, shape.scale, 0.0)
        return True


def _row(layer: DecodeLayer) -> list[int]:
    """Returns the struct `DecodeLayer` of cpu/step.cpp."""
    matrices = (layer.qkv, layer.o, layer.up, layer.down)
    stores = [(one.numbers, one.scales) if isinstance(one, Codes) else (one, None) for one in (layer.k, layer.v)]
    return [
        layer.attention_norm.weight.data_ptr(), layer.mlp_norm.weight.data_ptr(),
        *(one.address for one in matrices), *(one.num_parts for one in matrices),
        *(numbers.data_ptr() for numbers, _ in stores), *(0 if scales is None else scales.data_ptr() for _, scales in stores),
    ]  # fmt: skip
