"""Quantisation of dense matrices while they are read, by the names that the reference and torchao have for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from workbench.checkpoint.packing import Scaled

FLOAT8_MAX = 448.0


def _int8(weight: Tensor) -> Scaled:
    """Returns int8 codes with a scale for each row."""
    scale = _not_zero(weight.abs().amax(1, keepdim=True) / 127)
    return Scaled((weight / scale).round_().clamp_(-127, 127).to(torch.int8), scale, weight.shape[1])


def _int4(group_len: int, weight: Tensor) -> Scaled | None:
    """Returns codes of 4 bits with a scale and a zero point for each group; None if the groups do not divide a row."""
    if weight.shape[1] % group_len:
        return None
    groups = weight.view(len(weight), -1, group_len)
    low, high = groups.amin(-1).clamp_(max=0), groups.amax(-1).clamp_(min=0)
    scale = _not_zero(((high - low) / 15).half().float())
    zero = (-low / scale).round_().clamp_(0, 15)
    codes = (groups / scale[..., None]).round_().add_(zero[..., None]).clamp_(0, 15).to(torch.uint8)
    return Scaled(codes.view_as(weight), scale, group_len, zero)


def _float8(by_row: bool, weight: Tensor) -> Scaled:
    """Returns float8 e4m3 with a scale for each row, or for all."""
    peak = weight.abs().amax(1, keepdim=True)
    scale = _not_zero((peak if by_row else peak.amax().expand_as(peak)) / FLOAT8_MAX)
    return Scaled((weight / scale).clamp_(-FLOAT8_MAX, FLOAT8_MAX).to(torch.float8_e4m3fn), scale, weight.shape[1])


def _not_zero(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, 1.0)


SCHEMES: dict[str, Callable[[Tensor], Scaled | None]] = {
    "int8wo": _int8, "int8dq": _int8, "w8a8_int8": _int8,
    **{f"int4wo-{size}": partial(_int4, size) for size in (32, 64, 128, 256)},
    "fp8": partial(_float8, False), "fp8wo": partial(_float8, False),
    "fp8dq-per_tensor": partial(_float8, False), "fp8dq-per_row": partial(_float8, True),
}  # fmt: skip
"""Name -> function from a weight, float32 [out, in], to its codes. Here the kernels quantise activations, so schemes that differ
in those alone are one."""
