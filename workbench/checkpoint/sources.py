"""The sources of the layers' tensors: a checkpoint, a survey of it that reads nothing, or a seed."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from workbench.checkpoint.base import Blocks, Checkpoint, Stored
from workbench.checkpoint.dequantise import readable_types
from workbench.checkpoint.names import Change, Cut, Names
from workbench.errors import ModelCorrupt, ModelUnsupported, WorkbenchError

DUMMY_STD = 0.02
Shape = tuple[int, ...]


class TensorSource(Protocol):
    """Tensors by our names."""

    def has(self, name: str) -> bool:
        """Returns whether an optional tensor is there."""

    def read(self, name: str, shape: Shape, rows: slice | None, neutral: float | None) -> Tensor | Blocks:
        """Returns a tensor of this shape, or the given rows of it. See `Weights` for `neutral`."""


class StoredSource:
    """Reads a checkpoint that a `Survey` found complete."""

    def __init__(self, checkpoint: Checkpoint, names: Names) -> None:
        self._checkpoint, self._names = checkpoint, names

    def has(self, name: str) -> bool:
        return self._names.find(name, self._checkpoint.tensors) is not None

    def read(self, name: str, shape: Shape, rows: slice | None, neutral: float | None) -> Tensor | Blocks:
        stored, change = self._names.find(name, self._checkpoint.tensors), self._names.change_of(name)
        assert stored is not None, name
        cut = self._names.cut_of(name)
        if change is None and cut is None:
            value = self._checkpoint.read(stored, rows)
            return value.view(shape) if rows is None and isinstance(value, Tensor) else value
        whole = self._checkpoint.read(stored) if cut is None else self._cut(stored, cut)
        if change is not None:
            whole = _apply(change, whole, shape)  # its rows may lie anywhere
        if rows is None:
            return whole
        return whole.cut(rows) if isinstance(whole, Blocks) else whole[rows]

    def _cut(self, stored: str, cut: Cut) -> Tensor | Blocks:
        if cut.run is not None:
            return self._checkpoint.read(stored, cut.run)
        whole = self._checkpoint.read(stored)
        if not isinstance(whole, Blocks):
            return cut.of(whole)
        if cut.is_transposed:
            return cut.of(whole.dense())
        rows = cut.of(torch.arange(cut.total) if whole.order is None else whole.order)
        return replace(whole, data=whole.data[rows], shape=(len(rows), *whole.shape[1:]), order=None)


def _apply(change: Change, value: Tensor | Blocks, shape: Shape) -> Tensor | Blocks:
    if not isinstance(value, Blocks):
        return change.undo(value)
    if not change.of_rows:
        return change.undo(value.dense())
    order = change.undo(torch.arange(shape[0]))
    return replace(value, order=order if value.order is None else value.order[order])


class Survey:
    """Notes what the layers ask for and gives tensors without rows. `settle` then judges the whole checkpoint.

    These are no tensors of the `meta` device, whose arithmetic imports torch's compiler: 2 s and more.
    """

    def __init__(self, checkpoint: Checkpoint, names: Names) -> None:
        self._checkpoint, self._names = checkpoint, names
        self._missing: list[str] = []
        self._read: set[str] = set()
        self._wrong: list[WorkbenchError] = []

    def has(self, name: str) -> bool:
        return self._names.find(name, self._checkpoint.tensors) is not None

    def read(self, name: str, shape: Shape, rows: slice | None, neutral: float | None) -> Tensor:
        stored = self._names.find(name, self._checkpoint.tensors)
        if stored is None:
            self._missing.append(self._names.renamed(name))
        else:
            self._read.add(stored)
            cut = self._names.cut_of(name)
            wanted = shape if cut is None else cut.whole(shape)
            self._wrong += _faults(name, stored, self._checkpoint.tensors[stored], wanted)
        return torch.empty(0, *shape[1:])

    def settle(self, family: str) -> None:
        """Raises for what is missing, for what no layer asked for, and for shapes and types that do not fit, in this order."""
        where = self._checkpoint.path
        unread = [name for name in self._checkpoint.tensors if name not in self._read and not self._names.is_leftover(name)]
        if self._missing:
            is_one = len(unread) == 1
            more = f", and has {_named(unread)}, which {'is' if is_one else 'are'} not known here" if unread else ""
            raise ModelCorrupt(
                f"{where} lacks {_named(self._missing)}{more}",
                hint="the checkpoint is incomplete, or its configuration is of another model",
            )
        if unread:
            raise ModelUnsupported(
                f"{where} has {_named(unread)}, which {family} does not read",
                hint="is the configuration the one of these weights? biases, for one, are read where it has attention_bias",
            )
        if self._wrong:
            raise self._wrong[0]


def _faults(name: str, stored: str, found: Stored, shape: Shape) -> list[WorkbenchError]:
    if not found.is_readable:
        message = f"{stored} is stored as {found.type}: the weights are quantised in a way that does not run yet"
        return [
            ModelUnsupported(message, hint=f"what runs: bfloat16, float16, float32, or a GGUF in {', '.join(readable_types())}")
        ]
    if without_ones(found.shape) != without_ones(shape):
        return [
            ModelCorrupt(
                f"the file has {stored} {list(found.shape)}, its configuration wants {list(shape)} for {name}",
                hint="weights and configuration do not belong together",
            )
        ]
    return []


def without_ones(shape: Shape) -> Shape:
    """Returns the sizes that are not 1: GGUF files leave those out. A single number keeps one."""
    return tuple(size for size in shape if size != 1) or (1,)


def _named(names: list[str]) -> str:
    return f"the tensor {names[0]}" if len(names) == 1 else f"{len(names)} tensors, {names[0]} first"


class RandomSource:
    """Seeded weights for `load_format="dummy"`. A tensor depends on the seed and its name alone, whatever else is read."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def has(self, name: str) -> bool:
        return False

    def read(self, name: str, shape: Shape, rows: slice | None, neutral: float | None) -> Tensor:
        if neutral is not None:
            whole = torch.full(shape, neutral)
        else:
            rng = torch.Generator().manual_seed(zlib.crc32(name.encode(), self._seed & 0xFFFFFFFF))
            whole = torch.randn(shape, generator=rng) * DUMMY_STD
        return whole if rows is None else whole[rows]
