"""The operations. Each has a compiled form (CPU, float32 or bfloat16) and says the same in torch for all other cases.

T rows, H hidden, Hq and Hkv query and KV heads, D head size, S columns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.kernels.compiled import library

WIDTH = 32
"""Rows of a compiled operation are whole multiples of this, so that halves of them are whole vectors."""
HEAD_SIZES = (64, 128, 256)
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def compiled(name: str, x: Tensor, width: int) -> Any:
    """The compiled form of `name` for rows of `width` numbers like those of `x`, or None."""
    if x.device.type != "cpu" or x.dtype not in NAMES or width % WIDTH:
        return None
    return getattr(library(), f"{name}_{NAMES[x.dtype]}", None)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [..., H] / rms(x) * weight [H], computed in float32."""
    call = compiled("rms_norm", x, x.shape[-1])
    if call is None or x.dtype != weight.dtype:
        return F.rms_norm(x, weight.shape, weight, eps)
    x = x.contiguous()
    out = torch.empty_like(x)
    size = x.shape[-1]
    call(x.data_ptr(), weight.data_ptr(), out.data_ptr(), x.numel() // size, size, size, eps)
    return out


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [T, heads, D] turned by its position; cos, sin [T, 1, D], half-split layout."""
    num_rows, num_heads, dim = x.shape
    call = compiled("rotate", x, dim)
    if call is None or x.stride()[1:] != (dim, 1) or cos.dtype != x.dtype:
        half = dim // 2
        turned = torch.cat((-x[..., half:], x[..., :half]), -1)
        return torch.addcmul(x * cos, turned, sin)
    out = torch.empty((num_rows, num_heads, dim), dtype=x.dtype)
    call(x.data_ptr(), cos.data_ptr(), sin.data_ptr(), out.data_ptr(), num_rows, num_heads, dim, x.stride(0))
    return out


def silu_mul(gate_up: Tensor) -> Tensor:
    """silu(gate) * up for gate_up [T, 2 * I] -> [T, I]."""
    size = gate_up.shape[-1] // 2
    call = compiled("silu_mul", gate_up, size)
    if call is None or not gate_up.is_contiguous():
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate) * up
    out = torch.empty((*gate_up.shape[:-1], size), dtype=gate_up.dtype)
    call(gate_up.data_ptr(), out.data_ptr(), out.numel() // size, size)
    return out


def softmax_(
    scores: Tensor, *, scale: float, group: int = 1, visible: int | None = None, window: int | None = None, with_lse: bool
) -> tuple[Tensor, Tensor]:
    """Changes: scores [B, R, S] become the softmax weights of scale * score. Returns them and the log-sum-exps [B, R].

    Row r is query head r % group of token r // group, and sees the columns before `visible` + r // group (all of them
    by default), of those the last `window`.
    """
    num_seqs, num_rows, width = scores.shape
    visible = width if visible is None else visible
    call = compiled("softmax", scores, WIDTH)
    if call is None:
        return _softmax(scores, scale, group, visible, window, with_lse)
    lse = torch.empty((num_seqs, num_rows) if with_lse else (0,), dtype=torch.float32)
    address = lse.data_ptr() if with_lse else None
    call(scores.data_ptr(), address, num_seqs * num_rows, num_rows, width, visible, group, window or width, scale)
    return scores, lse


def _softmax(scores: Tensor, scale: float, group: int, visible: int, window: int | None, with_lse: bool) -> tuple[Tensor, Tensor]:
    _, num_rows, width = scores.shape
    scores = scores.mul_(scale)
    if visible < width or window is not None:
        end = visible + torch.arange(num_rows, device=scores.device)[:, None] // group
        column = torch.arange(width, device=scores.device)
        hidden = column >= end
        if window is not None:
            hidden |= column < end - window
        scores.masked_fill_(hidden, float("-inf"))
    lse = scores.float().logsumexp(-1) if with_lse else scores.new_empty(0)
    return scores.softmax(-1), lse


def attend_slots(q: Tensor, k: Tensor, v: Tensor, slots: Tensor, starts: Tensor, *, scale: float) -> tuple[Tensor, Tensor] | None:
    """Row b of q [B, Hq, D] over k, v [slots, Hkv, D] at slots[starts[b] : starts[b + 1]], at least one, read in place.

    Returns out [B, Hq, D] and lse [B, Hq] float32, or None where there is no compiled form.
    """
    num_rows, num_heads, dim = q.shape
    call = compiled("attend_slots", q, dim)
    if call is None or dim not in HEAD_SIZES or q.stride()[1:] != (dim, 1) or k.dtype != q.dtype:
        return None
    out = torch.empty((num_rows, num_heads, dim), dtype=q.dtype)
    lse = torch.empty((num_rows, num_heads), dtype=torch.float32)
    tensors = [x.data_ptr() for x in (k, v, slots, starts, out, lse)]
    call(q.data_ptr(), q.stride(0), *tensors, num_rows, num_heads, k.shape[1], dim, scale)
    return out, lse


def merge_(out: Tensor, lse: Tensor, other: Tensor, other_lse: Tensor) -> None:
    """Changes: out [T, Hq, D], lse [T, Hq] become what one softmax over both parts would have given."""
    dim = out.shape[-1]
    call = compiled("merge", out, dim)
    tensors = (out, lse, other, other_lse)
    if call is None or other.dtype != out.dtype or not all(x.is_contiguous() for x in tensors):
        weight = torch.sigmoid(other_lse - lse).unsqueeze(-1).to(out.dtype)
        out.lerp_(other, weight)
        torch.logaddexp(lse, other_lse, out=lse)
        return
    call(*(x.data_ptr() for x in tensors), lse.numel(), dim)
