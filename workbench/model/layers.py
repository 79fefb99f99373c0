"""Layers that every family uses: linear with weights packed for the CPU, rotary positions, embedding, head."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.kernels.ops import rms_norm, silu_mul

PACKED_FOR_ROWS = 32


def _relu2(x: Tensor) -> Tensor:
    return F.relu(x).square()


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_gelu_tanh = partial(F.gelu, approximate="tanh")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu, "swish": F.silu, "relu": F.relu, "relu2": _relu2, "quick_gelu": _quick_gelu, "gelu": F.gelu,
    "gelu_new": _gelu_tanh, "gelu_fast": _gelu_tanh, "gelu_pytorch_tanh": _gelu_tanh,
}  # fmt: skip


def gated(name: str) -> Callable[[Tensor], Tensor]:
    """A function from gate_up [T, 2 * I] to activation(gate) * up [T, I]; that of silu has a compiled form."""
    activation = ACTIVATIONS[name]
    if activation is F.silu:
        return silu_mul

    def apply(gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        return activation(gate) * up

    return apply


@cache
def packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies packed weights of this type here. Tried, since it depends on more than the processor's flags."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(torch.ones(16, 16, dtype=dtype), PACKED_FOR_ROWS)
        torch.ops.mkldnn._linear_pointwise(torch.ones(1, 16, dtype=dtype), packed, None, "none", [], "")
    except RuntimeError:
        return False
    return True


class Linear(nn.Module):
    """y = x W^T + b. `pack()` hands the weight to oneDNN in its own layout, which a CPU multiplies faster."""

    weight: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False) if bias else None
        self._packed: Tensor | None = None

    def pack(self) -> None:
        """Changes: replaces the weight by its packed form, where the CPU has one for it (about the same memory)."""
        if self.weight.device.type == "cpu" and packs(self.weight.dtype):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.data, PACKED_FOR_ROWS)
            self.weight = nn.Parameter(self.weight.data[:0], requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if self._packed is not None:
            return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return F.linear(x, self.weight, self.bias)


class Embedding(nn.Module):
    """Rows of a table. nn.Embedding would draw random ones first, and to do so imports torch's compiler (2 s)."""

    weight: Tensor

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


def _frequencies(head_dim: int, rope: dict[str, Any], max_positions: int) -> tuple[Tensor, float]:
    """(inverse frequencies [D / 2], factor on cos and sin) from what `rope_settings` returns, checked in `config.py`."""
    theta = float(rope["rope_theta"])
    inv_freq = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    original = float(rope.get("original_max_position_embeddings") or max_positions)
    factor = float(rope.get("factor") or 1.0)
    if kind == "linear":
        return inv_freq / factor, 1.0
    if kind == "llama3":
        return _llama3(inv_freq, rope, factor, original), 1.0
    if kind == "yarn":
        return _yarn(inv_freq, theta, rope, factor, original)
    return inv_freq, 1.0


def _llama3(inv_freq: Tensor, rope: dict[str, Any], factor: float, original: float) -> Tensor:
    """Long wavelengths are stretched by `factor`, short ones kept, those between blended (Llama 3.1)."""
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    wavelength = 2 * math.pi / inv_freq
    blend = ((original / wavelength - low) / (high - low)).clamp(0, 1)
    return inv_freq / factor * (1 - blend) + inv_freq * blend


def _yarn(inv_freq: Tensor, theta: float, rope: dict[str, Any], factor: float, original: float) -> tuple[Tensor, float]:
    """Frequencies that turn often within the trained length are kept, slow ones stretched, a ramp between (YaRN)."""
    half, last = len(inv_freq), 2 * len(inv_freq) - 1

    def place(num_turns: float) -> float:  # of the frequency that turns so often within the trained length
        return half * math.log(original / (num_turns * 2 * math.pi)) / math.log(theta)

    low, high = place(rope.get("beta_fast") or 32), place(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, last)
    stretched = ((torch.arange(half, dtype=torch.float32) - low) / max(high - low, 0.001)).clamp(0, 1)
    return inv_freq / factor * stretched + inv_freq * (1 - stretched), _yarn_scale(rope, factor)


def _yarn_scale(rope: dict[str, Any], factor: float) -> float:
    """Factor on cos and sin: as stated, or from the stretch."""

    def grows(by: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * by * math.log(factor) + 1.0

    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    above, below = rope.get("mscale"), rope.get("mscale_all_dim")
    return grows(above) / grows(below) if above and below else grows(1.0)


def rope_settings(theta: float, *given: dict[str, Any] | None) -> dict[str, Any]:
    """The settings of one rotary embedding: those given, later ones first, null as if left out."""
    stated = {key: value for rope in given for key, value in (rope or {}).items() if value is not None}
    return {"rope_theta": theta} | stated
