"""Small layers that every family uses: embedding, norm, activations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.checkpoint.weights import Weights
from workbench.kernels.ops import Norm, silu_mul
from workbench.model.block_matrix import BlockMatrix
from workbench.model.config import Activation
from workbench.model.layer import Layer


def _relu2(x: Tensor) -> Tensor:
    return F.relu(x).square()


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_gelu_tanh = partial(F.gelu, approximate="tanh")
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu, "swish": F.silu, "relu": F.relu, "relu2": _relu2, "quick_gelu": _quick_gelu, "gelu": F.gelu,
    "gelu_new": _gelu_tanh, "gelu_fast": _gelu_tanh, "gelu_pytorch_tanh": _gelu_tanh,
}  # fmt: skip


def gated(name: Activation) -> Callable[[Tensor], Tensor]:
    """Returns a function from gate_up [T, 2 * I] to activation(gate) * up [T, I]; that of silu has a compiled form."""
    activation = ACTIVATIONS[name]
    if activation is F.silu:
        return silu_mul

    def apply(gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        return activation(gate) * up

    return apply


class Embedding(Layer):
    """Rows of a table."""

    weight: Tensor | BlockMatrix

    def __init__(self, num_rows: int, size: int) -> None:
        super().__init__()
        self.num_rows, self.size = num_rows, size

    def load(self, weights: Weights) -> None:
        blocks = weights.kept("weight", self.num_rows, self.size)
        self.weight = weights.tensor("weight", self.num_rows, self.size) if blocks is None else BlockMatrix([blocks])
        self.num_bytes, self.dtype = self.weight.nbytes, weights.dtype

    def forward(self, ids: Tensor) -> Tensor:  # [T] -> [T, size]
        if isinstance(self.weight, BlockMatrix):
            return self.weight.rows(ids, self.dtype)
        return F.embedding(ids, self.weight)


class LayerNorm(Layer):
    """(x - mean) / deviation * w + b."""

    weight: Tensor
    bias: Tensor | None = None

    def __init__(self, size: int, eps: float, bias: bool = True) -> None:
        super().__init__()
        self.size, self.eps, self.has_bias = size, eps, bias

    def load(self, weights: Weights) -> None:
        self.weight = weights.tensor("weight", self.size, neutral=1.0)
        self.bias = weights.tensor("bias", self.size, neutral=0.0) if self.has_bias else None
        self.num_bytes = self.weight.nbytes + (0 if self.bias is None else self.bias.nbytes)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.size,), self.weight, self.bias, self.eps)


class RMSNorm(Layer):
    """x / rms(x) * (offset + w); Gemma stores w - 1, so its offset is 1. Computed in float32."""

    norm: Norm

    def __init__(self, size: int, eps: float, offset: float = 0.0) -> None:
        super().__init__()
        self.size, self.eps, self.offset = size, eps, offset

    def load(self, weights: Weights) -> None:
        weight = weights.tensor("weight", self.size, neutral=1.0 - self.offset) + self.offset
        self.norm, self.num_bytes = Norm(weight, self.eps), weight.nbytes

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


AnyNorm = RMSNorm | LayerNorm


def before_product(norm: AnyNorm | None, x: Tensor) -> tuple[Tensor, Norm | None]:
    """Returns x and the norm that the product after it is to apply: one by the root mean square. Any other is applied here."""
    if isinstance(norm, RMSNorm):
        return x, norm.norm
    return (x if norm is None else norm(x)), None


class AllHeadsNorm(RMSNorm):
    """One norm over the numbers of all heads."""

    def __init__(self, num_heads: int, size: int, eps: float) -> None:
        super().__init__(num_heads * size, eps)

    def forward(self, x: Tensor) -> Tensor:  # [T, heads, D]
        return self.norm(x.flatten(1)).view_as(x)


class HeadsLayerNorm(Layer):
    """(x - mean) / deviation * w of each head, with weights of its own for every head."""

    weight: Tensor

    def __init__(self, num_heads: int, size: int, eps: float) -> None:
        super().__init__()
        self.num_heads, self.size, self.eps = num_heads, size, eps

    def load(self, weights: Weights) -> None:
        self.weight = weights.tensor("weight", self.num_heads, self.size, neutral=1.0)
        self.num_bytes = self.weight.nbytes

    def forward(self, x: Tensor) -> Tensor:  # [T, heads, D]
        return F.layer_norm(x, (self.size,), eps=self.eps) * self.weight
