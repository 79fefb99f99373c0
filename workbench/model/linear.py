"""Linear layers, and the forms in which one keeps its weight."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.checkpoint.base import Blocks
from workbench.checkpoint.weights import PLAIN_GROUP, Weights
from workbench.kernels.ops import Norm
from workbench.kernels.products import Matrices
from workbench.model.block_matrix import BlockMatrix, side_by_side
from workbench.model.layer import Layer

PACKED_FOR_ROWS = 32
PLAIN = {torch.float32: "F32", torch.bfloat16: "BF16"}
"""Types of blocks that are plain numbers."""


class LinearWeight(Protocol):
    """The weight W [out, in] of a linear layer, in some form."""

    def multiply(self, x: Tensor, bias: Tensor | None, norm: Norm | None = None, added: Tensor | None = None) -> Tensor:
        """Returns norm(x) W^T + bias + added: [..., in] -> [..., out]."""


class DenseWeight:
    """The weight as it was read."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def multiply(self, x: Tensor, bias: Tensor | None, norm: Norm | None = None, added: Tensor | None = None) -> Tensor:
        out = self._product(x if norm is None else norm(x), bias)
        return out if added is None else out + added

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, self.weight, bias)


class PackedWeight(DenseWeight):
    """The weight in the layout of oneDNN, which a CPU multiplies faster. Takes about the same memory."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR_ROWS))

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, bias, "none", [], "")
        return out


class BlockWeight:
    """Quantised blocks, as they lie in a file."""

    def __init__(self, matrix: BlockMatrix) -> None:
        self.matrix = matrix

    def multiply(self, x: Tensor, bias: Tensor | None, norm: Norm | None = None, added: Tensor | None = None) -> Tensor:
        if bias is None:
            return self.matrix.multiply(x, norm, added)
        out = self.matrix.multiply(x, norm).add_(bias)
        return out if added is None else out + added


def keep(weight: Tensor) -> LinearWeight:
    """Returns the weight in the form that this device multiplies fastest."""
    return PackedWeight(weight) if keeps_packed(weight) else DenseWeight(weight)


def keeps_packed(weight: Tensor) -> bool:
    """Returns whether a weight is kept in a layout of its own, as a copy."""
    is_empty = weight.numel() == 0  # of a survey
    return weight.device.type == "cpu" and not is_empty and packs(weight.dtype)


@cache
def packs(dtype: torch.dtype) -> bool:
    """Returns whether oneDNN multiplies packed weights of this type here. Tries it: the processor's flags do not suffice."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    try:
        PackedWeight(torch.ones(16, 16, dtype=dtype)).multiply(torch.ones(1, 16, dtype=dtype), None)
    except RuntimeError:
        return False
    return True


class Linear(Layer):
    """y = x W^T + b."""

    weight: LinearWeight

    def __init__(self, in_features: int, out_features: int, bias: bool = False, is_head: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features, self.has_bias, self.is_head = in_features, out_features, bias, is_head
        self.bias: Tensor | None = None

    def load(self, weights: Weights) -> None:
        weight = weights.matrix("weight", self.out_features, self.in_features, is_head=self.is_head)
        bias = weights.tensor("bias", self.out_features) if self.has_bias else None
        self._set(BlockMatrix([weight]) if isinstance(weight, Blocks) else weight, bias)

    def hold(self, parts: Sequence[Tensor | Blocks], dtype: torch.dtype, bias: Tensor | None = None) -> None:
        """Changes: multiplies with these matrices side by side, which came from elsewhere. Dense ones keep their layout."""
        joined = side_by_side(parts, dtype)
        self.num_bytes = joined.nbytes + (0 if bias is None else bias.nbytes)
        self.weight, self.bias = DenseWeight(joined) if isinstance(joined, Tensor) else BlockWeight(joined), bias

    def matrices(self) -> Matrices | None:
        """Returns the weight as the kernels see it; None where it has another layout, or a bias."""
        weight = self.weight
        if self.bias is not None:
            return None
        if isinstance(weight, BlockWeight):
            return weight.matrix.matrices if weight.matrix.is_in_order else None
        dense = weight.weight if type(weight) is DenseWeight else None
        if dense is None or dense.dtype not in PLAIN or dense.device.type != "cpu" or self.in_features % PLAIN_GROUP:
            return None
        if not dense.numel() or not dense.is_contiguous():  # of a survey, or of a matrix that was turned
            return None
        found = Matrices(self.in_features)
        found.add(PLAIN[dense.dtype], dense.view(torch.uint8), None)
        return found

    def share(self, weight: Tensor | BlockMatrix) -> None:
        """Changes: multiplies with another layer's weight, whose memory is not counted here."""
        self.weight, self.num_bytes = _form_of(weight), 0

    def _set(self, weight: Tensor | BlockMatrix, bias: Tensor | None) -> None:
        self.num_bytes = weight.nbytes + (0 if bias is None else bias.nbytes)
        self.weight, self.bias = _form_of(weight), bias

    def forward(self, x: Tensor, norm: Norm | None = None, added: Tensor | None = None) -> Tensor:
        """Returns y of norm(x), plus `added`; in one call where the weight has a form of that."""
        return self.weight.multiply(x, self.bias, norm, added)


def _form_of(weight: Tensor | BlockMatrix) -> LinearWeight:
    return BlockWeight(weight) if isinstance(weight, BlockMatrix) else keep(weight)


class FusedLinear(Linear):
    """Several linear layers with one input, multiplied at once. Their results stand side by side, as `sizes` cuts them."""

    def __init__(self, in_features: int, parts: dict[str, int], bias: bool = False) -> None:
        """Fuses `parts`: the name of each layer in a checkpoint, beside this one, and its number of outputs."""
        super().__init__(in_features, sum(parts.values()), bias)
        self.parts = parts
        self.sizes = list(parts.values())

    def load(self, weights: Weights) -> None:
        parts = [weights.beside(part).matrix("weight", rows, self.in_features) for part, rows in self.parts.items()]
        biases = [weights.beside(part).tensor("bias", rows) for part, rows in self.parts.items()] if self.has_bias else []
        bias, dense = torch.cat(biases) if biases else None, [part for part in parts if isinstance(part, Tensor)]
        if len(dense) == len(parts) and keeps_packed(dense[0]):
            self._set(weights.joint.join(dense), bias)  # packing copies it
        else:
            self._set(side_by_side(parts, weights.dtype), bias)

    def split(self, x: Tensor, norm: Norm | None = None) -> tuple[Tensor, ...]:
        """Returns the result of each part, of norm(x)."""
        return self(x, norm).split(self.sizes, -1)
