"""The K/V of all tokens, one row per slot; slot = page * page_size + offset.

The engine and the backends see a `KVStore`. How the numbers lie is the store's own affair: values that are a part of their
keys (`AttentionSpec.v_in_k`) are views of them, and for 8-bit K/V a store rounds in `write` and scales in `read` (`kv_codes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from workbench.attention.spec import AttentionSpec
from workbench.kernels.codes import Rows
from workbench.kernels.ops import write_slots


class KVStore(Protocol):
    num_slots: int
    num_touched: int
    """One more than the highest slot ever written."""
    bytes_per_token: int
    dtype: torch.dtype
    """Type in which the numbers are kept."""
    device: torch.device

    def write(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Changes: k [T, Hkv, D] and v [T, Hkv, Dv] go to `slots` [T] of one layer."""

    def read(self, layer: int, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Returns k [S, Hkv, D] and v [S, Hkv, Dv] of `slots` [S], in the type of the model."""


@runtime_checkable
class ViewableKV(KVStore, Protocol):
    """A store whose K/V a backend may read in place."""

    def views(self, layer: int) -> tuple[Rows, Rows]:
        """Returns all of a layer, k [slots, Hkv, D] and v [slots, Hkv, Dv]. A view: it changes with every `write`."""


def bytes_per_token(specs: Sequence[AttentionSpec], kept: torch.dtype) -> int:
    """Returns the bytes that one token takes in the store of these layers, with numbers of the type `kept`."""
    numbers = sum(spec.num_kv_heads * (spec.head_size + (0 if spec.v_in_k else spec.v_head_size)) for spec in specs)
    scales = sum(spec.num_kv_heads * (1 if spec.v_in_k else 2) for spec in specs) if kept == torch.int8 else 0
    return numbers * kept.itemsize + scales * torch.float32.itemsize


def kept_parts(specs: Sequence[AttentionSpec]) -> dict[int, int]:
    """Returns the number of tensors that each layer writes: 2, or 1 where values are a part of their keys."""
    return {spec.layer: 1 if spec.v_in_k else 2 for spec in specs}


class DenseKV:
    """K and V as they were computed, in two tensors per layer, or in one where values are a part of their keys.

    The whole capacity is reserved at once and untouched memory costs nothing: a CPU's operating system commits pages when
    they are first written, and the page pool hands out low numbers first. So the store grows with its use.
    """

    def __init__(self, specs: Sequence[AttentionSpec], num_slots: int, dtype: torch.dtype, device: torch.device) -> None:
        def room(spec: AttentionSpec, size: int) -> Tensor:
            return torch.empty((num_slots, spec.num_kv_heads, size), dtype=dtype, device=device)

        def both(spec: AttentionSpec) -> tuple[Tensor, Tensor]:
            k = room(spec, spec.head_size)
            return k, k[..., : spec.v_head_size] if spec.v_in_k else room(spec, spec.v_head_size)

        self._views, self._kept = {spec.layer: both(spec) for spec in specs}, kept_parts(specs)
        self.num_slots = num_slots
        self.num_touched = 0
        self.bytes_per_token = bytes_per_token(specs, dtype)
        self.dtype, self.device = dtype, device

    def write(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        for view, rows in islice(zip(self._views[layer], (k, v), strict=True), self._kept[layer]):
            write_slots(view, slots, rows)

    def read(self, layer: int, slots: Tensor) -> tuple[Tensor, Tensor]:
        k, v = self._views[layer]
        return k[slots], v[slots]

    def views(self, layer: int) -> tuple[Tensor, Tensor]:
        return self._views[layer]
