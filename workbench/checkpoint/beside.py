"""A checkpoint with a part of the model that lies in a folder of its own."""

from __future__ import annotations

from torch import Tensor

from workbench.checkpoint.base import Blocks, Checkpoint, Stored


class BesideCheckpoint:
    """A `Checkpoint` of two: the names of the second begin with a prefix."""

    def __init__(self, first: Checkpoint, second: Checkpoint, prefix: str) -> None:
        self.path = first.path
        self._first, self._second, self._prefix = first, second, prefix
        self.tensors: dict[str, Stored] = {**{prefix + name: one for name, one in second.tensors.items()}, **first.tensors}

    def read(self, name: str, rows: slice | None = None) -> Tensor | Blocks:
        if name in self._first.tensors:
            return self._first.read(name, rows)
        return self._second.read(name.removeprefix(self._prefix), rows)

    def __enter__(self) -> BesideCheckpoint:
        return self

    def __exit__(self, *error: object) -> None:
        self._second.__exit__(*error)
        self._first.__exit__(*error)
