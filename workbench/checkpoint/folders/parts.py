"""The stored tensors that one quantised matrix is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.checkpoint.base import Blocks, Checkpoint
from workbench.checkpoint.packing import Scaled
from workbench.errors import ModelCorrupt

HINT = "the checkpoint is incomplete or damaged: fetch it again"


@dataclass(frozen=True)
class Matrix:
    """A quantised matrix, described before its codes are read."""

    shape: tuple[int, int]
    type: str
    """Name of the codes, for messages: "4 bits"."""
    read: Callable[[], Scaled | Blocks | Tensor]
    """Function that reads it: scaled codes, our blocks, or dense where neither can hold it."""


class Parts:
    """The tensors whose names begin with one stem; notes which of them are used."""

    def __init__(self, checkpoint: Checkpoint, stem: str) -> None:
        self.checkpoint, self.stem = checkpoint, stem
        self.used: set[str] = set()

    def has(self, leaf: str) -> bool:
        return f"{self.stem}.{leaf}" in self.checkpoint.tensors

    def shape(self, leaf: str) -> tuple[int, ...]:
        """Returns the shape of a part. Raises ModelCorrupt where it is missing."""
        name = f"{self.stem}.{leaf}"
        if name not in self.checkpoint.tensors:
            raise ModelCorrupt(f"{self.checkpoint.path} has parts of a quantised {self.stem}, and no {name}", hint=HINT)
        self.used.add(name)
        return self.checkpoint.tensors[name].shape

    def get(self, leaf: str) -> Tensor:
        """Returns a part as it is stored. Raises ModelCorrupt where it is missing."""
        self.shape(leaf)
        found = self.checkpoint.read(f"{self.stem}.{leaf}")
        assert isinstance(found, Tensor)
        return found

    def scale(self, leaf: str) -> Tensor:
        """Returns scales, float32. Raises ModelCorrupt for one that is no finite number."""
        found = self.get(leaf).float()
        if not found.isfinite().all():
            bad = int((~found.isfinite()).sum())
            raise ModelCorrupt(
                f"{self.stem}.{leaf} holds {bad:,} of {found.numel():,} scales that are no finite numbers", hint=HINT
            )
        return found

    def expect(self, leaf: str, shape: tuple[int, ...]) -> None:
        """Raises ModelCorrupt where a part has another shape."""
        found = self.shape(leaf)
        if found != shape:
            raise ModelCorrupt(f"{self.stem}.{leaf} is {list(found)}, the other parts want {list(shape)}", hint=HINT)

    def group_len(self, width: int, num_groups: int) -> int:
        """Returns the numbers of a row that share a scale. Raises ModelCorrupt if the groups do not divide the row."""
        if num_groups < 1 or width % num_groups:
            raise ModelCorrupt(f"{self.stem} has {num_groups} groups of scales for rows of {width} numbers", hint=HINT)
        return width // num_groups

    def columns(self, leaf: str, num_groups: int, group_len: int) -> Tensor | None:
        """Returns the columns in the order of their groups, from the group of each column; None where that is the given order.

        Raises ModelCorrupt for a group that does not exist, or one of another size.
        """
        if not self.has(leaf):
            return None
        groups = self.get(leaf).long()
        if bool((groups < 0).all()):  # compressed-tensors: not set
            return None
        self.expect(leaf, (num_groups * group_len,))
        low, high = int(groups.min()), int(groups.max())
        if low < 0 or high >= num_groups:
            wrong = low if low < 0 else high
            raise ModelCorrupt(
                f"{self.stem}.{leaf} names the group {wrong}, and there are {num_groups} (0 to {num_groups - 1})", hint=HINT
            )
        columns = groups.argsort(stable=True)
        in_order = torch.arange(len(groups)) // group_len
        if torch.equal(groups, in_order):
            return None
        if not torch.equal(groups[columns], in_order):
            raise ModelCorrupt(f"{self.stem}.{leaf} puts other than {group_len} columns in a group", hint=HINT)
        return columns
