"""Adapters: products of low rank, added to those of linear layers for some rows of a step."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.nn import functional as F

from workbench.checkpoint.weights import Weights
from workbench.kernels.ops import Norm
from workbench.kernels.products import Matrices
from workbench.model.blocks import MLP, Attention
from workbench.model.decoder import Decoder
from workbench.model.layer import Layer
from workbench.model.linear import Linear, LinearWeight


class Adapted(Layer):
    """y = W x, and for the rows of the present step that are adapted y + scale * B (A x). Its parts are called `lora_A` and
    `lora_B` in files, and the layer itself as without it."""

    def __init__(self, inner: Linear, rank: int, scale: float, rows: Rows) -> None:
        super().__init__()
        self.inner, self.rank, self.scale, self.rows = inner, rank, scale, rows

    def load(self, weights: Weights) -> None:
        self.inner.load(weights)
        self.down = weights.at("lora_A").tensor("weight", self.rank, self.inner.in_features)
        self.up = weights.at("lora_B").tensor("weight", self.inner.out_features, self.rank)
        self.num_bytes = self.down.nbytes + self.up.nbytes

    @property
    def weight(self) -> LinearWeight | None:
        """The weight, where it is all that is multiplied."""
        return self.inner.weight if self.rows.present is None else None

    @property
    def has_bias(self) -> bool:
        return self.inner.has_bias

    @property
    def bias(self) -> Tensor | None:
        return self.inner.bias

    def matrices(self) -> Matrices | None:
        """Returns the weight as the kernels see it, for steps without adapted rows."""
        return self.inner.matrices()

    def forward(self, x: Tensor, norm: Norm | None = None, added: Tensor | None = None) -> Tensor:
        out = self.inner(x, norm, added)
        rows = self.rows.present
        if rows is None:
            return out
        own = x[rows] if norm is None else norm(x[rows])
        return out.index_add(0, rows, F.linear(F.linear(own, self.down), self.up) * self.scale)


class Rows:
    """The adapted rows of the present step, for all layers of a model."""

    present: Tensor | None = None
    """[n] int64; None where there are none."""


def adapt(text: Decoder, rank: int, scale: float) -> Rows:
    """Changes: the linear layers of all blocks, of attention and MLP, get adapters. Returns their rows, none at first."""
    rows = Rows()
    for part in _parts(text):
        for name, layer in [*part.named_children()]:
            if isinstance(layer, Linear):
                setattr(part, name, Adapted(layer, rank, scale, rows))
    return rows


def _parts(text: Decoder) -> Iterable[Attention | MLP]:
    return [part for part in text.layers.modules() if isinstance(part, Attention | MLP)]
