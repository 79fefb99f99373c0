"""Layers that every family uses: linear with weights packed for the CPU, rotary positions, embedding, head."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.errors import ModelUnsupported
from workbench.kernels.ops import rms_norm

PACKED_FOR_ROWS = 32


class Linear(nn.Module):
    """y = x W^T + b. `pack()` hands the weight to oneDNN in its own layout, which a CPU multiplies faster."""

    weight: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False) if bias else None
        self._packed: Tensor | None = None

    def pack(self) -> None:
        """Changes: replaces the weight by its packed form (CPU only; about the same memory)."""
        if self.weight.device.type == "cpu" and torch.backends.mkldnn.is_available() and self.weight.dtype != torch.float16:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.data, PACKED_FOR_ROWS)
            self.weight = nn.Parameter(self.weight.data[:0], requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if self._packed is not None:
            return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return F.linear(x, self.weight, self.bias)


class Embedding(nn.Module):
    """Rows of a table. nn.Embedding would draw random ones first, and to do so imports torch's compiler (2 s)."""

    def __init__(self, num_rows: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_rows, size), requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:  # [T] -> [T, size]
        return F.embedding(ids, self.weight)


class RMSNorm(nn.Module):
    """x / rms(x) * (offset + w); Gemma stores w - 1, so its offset is 1. Computed in float32."""

    def __init__(self, size: int, eps: float, offset: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size), requires_grad=False)
        self.eps = eps
        self.offset = offset

    def prepare(self) -> None:
        """Changes: folds the offset into the weight, once after loading."""
        self.weight.data += self.offset
        self.offset = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class Rotary:
    """Rotary position embedding in the half-split layout; cos and sin tables grow to the longest position seen."""

    def __init__(
        self, head_dim: int, config: dict[str, Any], max_positions: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        inv_freq, scale = _frequencies(head_dim, config, max_positions)
        self._inv_freq, self._scale = inv_freq, scale
        self._dtype, self._device = dtype, device
        self.cos = self.sin = torch.empty(0)
        self._build(min(max_positions, 4096))

    def _build(self, num_positions: int) -> None:
        angles = torch.outer(torch.arange(num_positions, dtype=torch.float32), self._inv_freq)
        angles = torch.cat((angles, angles), -1)  # [positions, D]
        self.cos = (angles.cos() * self._scale).to(self._device, self._dtype)
        self.sin = (angles.sin() * self._scale).to(self._device, self._dtype)

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos, sin [T, 1, D] for one step; all layers share them."""
        highest = int(positions.max()) + 1
        if highest > self.cos.shape[0]:
            self._build(1 << (highest - 1).bit_length())
        return self.cos[positions, None], self.sin[positions, None]


def _frequencies(head_dim: int, config: dict[str, Any], max_positions: int) -> tuple[Tensor, float]:
    """(inverse frequencies [D / 2], factor on cos and sin) from transformers' rope parameters."""
    theta = float(config.get("rope_theta", 10000.0))
    inv_freq = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    kind = config.get("rope_type") or config.get("type") or "default"
    if kind == "default":
        return inv_freq, 1.0
    factor = float(config["factor"])
    if kind == "linear":
        return inv_freq / factor, 1.0
    if kind == "llama3":
        return _llama3(inv_freq, config, factor), 1.0
    raise ModelUnsupported(f"rope scaling {kind!r} is not supported", hint="supported: default, linear, llama3")


def _llama3(inv_freq: Tensor, config: dict[str, Any], factor: float) -> Tensor:
    """Long wavelengths are stretched by `factor`, short ones kept, those between blended (Llama 3.1)."""
    low, high = float(config["low_freq_factor"]), float(config["high_freq_factor"])
    original = float(config["original_max_position_embeddings"])
    wavelength = 2 * math.pi / inv_freq
    blend = ((original / wavelength - low) / (high - low)).clamp(0, 1)
    return inv_freq / factor * (1 - blend) + inv_freq * blend


def rope_parameters(config: dict[str, Any]) -> dict[str, Any]:
    """The rope settings of a config.json, of transformers 5 (`rope_parameters`) or older (`rope_theta`, `rope_scaling`)."""
    theta = {"rope_theta": config.get("rope_theta", 10000.0)}
    return theta | (config.get("rope_scaling") or {}) | (config.get("rope_parameters") or {})
