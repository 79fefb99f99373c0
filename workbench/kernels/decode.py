"""All layers of a decode step in one call, for a model whose layers are blocks of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from torch import Tensor

from workbench.kernels.codes import Codes, Rows
from workbench.kernels.ops import HEAD_SIZES, NAMES, Norm, compiled
from workbench.kernels.products import ACTIVATIONS, Matrices


@dataclass(frozen=True, kw_only=True)
class DecodeLayer:
    attention_norm: Norm | None
    qkv: Matrices
    qkv_bias: Tensor | None
    q_norm: Norm | None
    """That of each head."""
    k_norm: Norm | None
    o: Matrices
    attention_after: Norm | None
    """The norm of what the attention adds to x; a layer has this and `mlp_after`, or neither."""
    mlp_norm: Norm | None
    up: Matrices
    down: Matrices
    mlp_after: Norm | None
    k: Rows
    v: Rows
    turn: int
    """Its number among the rotary embeddings of a step."""
    context: int
    """Its number among the contexts of a step."""

    @property
    def norms(self) -> list[Norm]:
        """Returns those of rows [T, H]."""
        all_norms = (self.attention_norm, self.attention_after, self.mlp_norm, self.mlp_after)
        return [norm for norm in all_norms if norm is not None]

    @property
    def head_norms(self) -> list[Norm]:
        return [norm for norm in (self.q_norm, self.k_norm) if norm is not None]


@dataclass(frozen=True)
class DecodeShape:
    num_heads: int
    num_kv_heads: int
    head_size: int
    scale: float
    softcap: float | None
    activation: str


class DecodeContext(NamedTuple):
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
        first, norm = layers[0], _norms(layers)[0]
        self._dtype, self._eps = norm.weight.dtype, norm.eps
        self._inner = first.down.width
        self._format = first.k.format if isinstance(first.k, Codes) else 0

    @staticmethod
    def can_be(layers: Sequence[DecodeLayer], shape: DecodeShape) -> bool:
        """Returns whether the layers have a compiled form: one type, one shape, and numbers that lie as the kernels read them."""
        first, attended, norms = layers[0], shape.num_heads * shape.head_size, _norms(layers)
        biases = [layer.qkv_bias for layer in layers if layer.qkv_bias is not None]
        alike = all(
            one.k.dtype == one.v.dtype == first.k.dtype
            and one.k.shape[1:] == one.v.shape[1:] == (shape.num_kv_heads, shape.head_size)
            and (one.qkv.width, one.o.width, one.down.width) == (first.qkv.width, attended, first.down.width)
            and (one.attention_after is None) == (one.mlp_after is None)
            and all(norm.weight.shape == (first.qkv.width,) for norm in one.norms)
            and all(norm.weight.shape == (shape.head_size,) for norm in one.head_norms)
            for one in layers
        )
        one_type = {norm.weight.dtype for norm in norms} | {bias.dtype for bias in biases} | {first.k.dtype}
        one_eps = {norm.eps for norm in norms}
        is_known = shape.head_size in HEAD_SIZES and first.k.dtype in NAMES and shape.activation in ACTIVATIONS
        return alike and len(one_type) == len(one_eps) == 1 and is_known

    def run(
        self, x: Tensor, turns: Sequence[tuple[Tensor, Tensor]], new_slots: Tensor, contexts: Sequence[DecodeContext]
    ) -> bool:
        """Changes: x [T, H] goes through all layers, and its K and V into the store. Returns False where nothing is compiled.

        `turns` have the cos and sin [T, 1, D] of each row, new_slots [T] the slot of its own K and V.
        """
        call = compiled("decode_layers", x, x.shape[-1])
        if call is None or x.dtype != self._dtype or any(cos.dtype != x.dtype for cos, _ in turns):
            return False
        shape = self._shape
        by_turn = np.array([[cos.data_ptr(), sin.data_ptr()] for cos, sin in turns], dtype=np.int64)
        by_context = np.array([[*(part.data_ptr() for part in one), len(one.runs)] for one in contexts], dtype=np.int64)
        places = [self._table.ctypes.data, x.data_ptr(), by_turn.ctypes.data, by_context.ctypes.data, new_slots.data_ptr()]
        sizes = [len(self._table), *x.shape, self._inner, shape.num_heads, shape.num_kv_heads, shape.head_size]
        call(*places, *sizes, self._format, ACTIVATIONS[shape.activation], self._eps, shape.scale, shape.softcap or 0.0)
        return True


def _norms(layers: Sequence[DecodeLayer]) -> list[Norm]:
    return list(chain.from_iterable((*layer.norms, *layer.head_norms) for layer in layers))


def _row(layer: DecodeLayer) -> list[int]:
    """Returns the struct `DecodeLayer` of cpu/step.cpp."""

    def place(part: Tensor | Norm | None) -> int:
        return 0 if part is None else (part.weight if isinstance(part, Norm) else part).data_ptr()

    norms = layer.attention_norm, layer.mlp_norm, layer.attention_after, layer.mlp_after, layer.q_norm, layer.k_norm
    matrices = layer.qkv, layer.o, layer.up, layer.down
    stores = [(one.numbers, one.scales) if isinstance(one, Codes) else (one, None) for one in (layer.k, layer.v)]
    return [
        *map(place, norms), place(layer.qkv_bias), *(one.address for one in matrices), *(one.num_parts for one in matrices),
        *(place(numbers) for numbers, _ in stores), *(place(scales) for _, scales in stores), layer.turn, layer.context,
    ]  # fmt: skip
