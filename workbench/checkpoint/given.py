"""Tensors in memory in the place of those of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from workbench.checkpoint.base import Blocks, Checkpoint, Stored


class GivenTensors:
    """A `Checkpoint` some of whose tensors are given, by the names of its file; the others are read from it."""

    def __init__(self, under: Checkpoint, given: Mapping[str, Tensor]) -> None:
        self.path = under.path
        self._under, self._given = under, given
        self.tensors: dict[str, Stored] = {**under.tensors, **{name: _stored(tensor) for name, tensor in given.items()}}

    def read(self, name: str, rows: slice | None = None) -> Tensor | Blocks:
        if name not in self._given:
            return self._under.read(name, rows)
        whole = self._given[name]
        return whole if rows is None else whole[rows]

    def __enter__(self) -> GivenTensors:
        return self

    def __exit__(self, *error: object) -> None:
        self._under.__exit__(*error)


def _stored(tensor: Tensor) -> Stored:
    is_dense = tensor.is_floating_point() and tensor.element_size() > 1
    return Stored(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), is_dense, is_readable=is_dense)
