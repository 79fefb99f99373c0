"""The tensors of one layer, by the layer's own words for them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.checkpoint.base import Blocks
from workbench.checkpoint.online import SCHEMES
from workbench.checkpoint.sources import TensorSource

PLAIN_GROUP = 32
"""Numbers of a row that the kernels read at once, so those of plain types come in multiples of it."""


@dataclass(frozen=True, slots=True)
class WeightForm:
    """The forms that the weights of linear layers may have, besides dense."""

    keeps: Container[str] = ()
    """Types of blocks that stay as they are; others become dense."""
    online: str | None = None
    """Scheme by which dense weights are quantised, one of `SCHEMES`."""


DENSE = WeightForm()


class Joint:
    """Memory in which matrices lie side by side until they are packed: one piece for a whole load, since new memory takes as long
    to get as to fill."""

    def __init__(self) -> None:
        self._numbers: Tensor | None = None

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Returns the rows of all parts in one matrix, which lasts until the next call."""
        count, first = sum(part.numel() for part in parts), parts[0]
        if self._numbers is None or self._numbers.dtype != first.dtype or len(self._numbers) < count:
            self._numbers = torch.empty(count, dtype=first.dtype)
        out = self._numbers[:count].view(-1, *first.shape[1:])
        return torch.cat([*parts], out=out)


class Weights:
    """The tensors below one name. A layer takes what it needs, and hands each of its parts the tensors below the part's name."""

    def __init__(
        self,
        source: TensorSource,
        dtype: torch.dtype,
        device: torch.device,
        path: tuple[str, ...] = (),
        *,
        form: WeightForm = DENSE,
        joint: Joint | None = None,
    ) -> None:
        """Reads from `source` in `dtype`, on `device`."""
        self.dtype, self.device, self.form = dtype, device, form
        self.joint = joint or Joint()
        self._source, self._path = source, path

    def at(self, name: str) -> Weights:
        """Returns the tensors of a part: `at("self_attn")`, `at("3")`."""
        return self._of((*self._path, name))

    def within(self, path: str) -> Weights:
        """Returns the tensors of a part further down: `within("layers.0.mlp")`."""
        return self._of((*self._path, *path.split("."))) if path else self

    def beside(self, name: str) -> Weights:
        """Returns the tensors of a neighbour: in `layers.0.self_attn.qkv`, `beside("q_proj")`."""
        return self._of((*self._path[:-1], name))

    def _of(self, path: tuple[str, ...]) -> Weights:
        return Weights(self._source, self.dtype, self.device, path, form=self.form, joint=self.joint)

    def has(self, name: str) -> bool:
        """Returns whether an optional tensor is there; of random weights none is."""
        return self._source.has(self._full(name))

    def tensor(self, name: str, *shape: int, rows: slice | None = None, neutral: float | None = None) -> Tensor:
        """Returns the tensor `name`, dense, in the run's dtype and on its device.

        `shape` is that of the whole tensor; with `rows`, a slice with both ends, only these are read. `neutral` is the value
        that leaves a computation as it is, where there is one: random weights are made of it.
        """
        return self._dense(self._source.read(self._full(name), shape, rows, neutral))

    def kept(self, name: str, *shape: int) -> Blocks | None:
        """Returns the tensor `name` as blocks, or None where it must become dense."""
        return self._held(self.stored(name, *shape)) if self.form.keeps else None

    def matrix(self, name: str, *shape: int, is_head: bool = False, index: int | None = None) -> Tensor | Blocks:
        """Returns the weight of a linear layer: as blocks, those of the file or made by the scheme, where they stay; else dense.

        A scheme leaves a model's head as it is. With an `index`, the one of a stack of matrices of this `shape`.
        """
        if index is None:
            return self.formed(self.stored(name, *shape), is_head=is_head)
        stack = self.stored(name, *shape, rows=slice(index, index + 1))
        return self.formed(stack.unstacked() if isinstance(stack, Blocks) else stack.flatten(0, 1))

    def formed(self, value: Tensor | Blocks, *, is_head: bool = False) -> Tensor | Blocks:
        """Returns a stored matrix in the form that the weights of linear layers have."""
        if self.form.online is not None and not is_head and isinstance(value, Tensor) and value.numel():
            made = SCHEMES[self.form.online](value.float())
            value = (made and made.blocks()) or value
        kept = self._held(value)
        return self._dense(value) if kept is None else kept

    def _dense(self, value: Tensor | Blocks) -> Tensor:
        dense = value.dense() if isinstance(value, Blocks) else value
        return dense.to(device=self.device, dtype=self.dtype)

    def _held(self, value: Tensor | Blocks) -> Blocks | None:
        if not isinstance(value, Blocks) or value.type not in self.form.keeps or value.shape[-1] % PLAIN_GROUP:
            return None
        return value

    def stored(self, name: str, *shape: int, rows: slice | None = None) -> Tensor | Blocks:
        """Returns the tensor `name` as the file has it: quantised blocks, or dense in the file's own dtype."""
        return self._source.read(self._full(name), shape, rows, None)

    def _full(self, name: str) -> str:
        return ".".join((*self._path, name))
