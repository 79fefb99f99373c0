"""The base of layers: each loads its own tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from workbench.checkpoint.base import Blocks
from workbench.checkpoint.weights import Weights


@dataclass(frozen=True)
class Gathered:
    """A tensor as GGUF files have it, of which other files may have parts."""

    shape: tuple[int, ...]
    reads: Sequence[Callable[[], Tensor | Blocks]]
    """Functions that return its rows, in turn."""


class Layer(nn.Module):
    """A part of a model. One with tensors of its own overrides `load`."""

    num_bytes = 0
    """Memory of its own tensors, those of its parts and shared ones not counted."""

    def load(self, weights: Weights) -> None:
        """Changes: reads the tensors below this layer's name. Here: of each part below the part's attribute."""
        load_parts(self, weights)

    def gathered(self, weights: Weights) -> Mapping[str, Gathered] | None:
        """Returns its tensors in the form of GGUF files, by their names below this layer. None: in the form in which it reads
        them."""
        return None


def load_parts(module: nn.Module, weights: Weights) -> None:
    """Changes: every part of `module` reads its tensors. Of an `nn.ModuleList` the parts are called 0, 1, 2."""
    for name, part in module.named_children():
        if isinstance(part, Layer):
            part.load(weights.at(name))
        else:
            load_parts(part, weights.at(name))
