"""Attention that also returns its log-sum-exp, and the exact merge of two partial results."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class Partial:
    """Attention over a part of the context: out [T, Hq, D] and the log-sum-exp of its scores [T, Hq], float32."""

    out: Tensor
    lse: Tensor


def attend_with_lse(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, causal: bool = False, mask: Tensor | None = None
) -> Partial:
    """q [B, H, T, D], k and v [B, H, S, D] -> out [B, H, T, D], lse [B, H, T]. `mask` is additive, [B, 1, 1 or T, S]."""
    if q.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, attn_mask=mask, scale=scale)
        return Partial(out, lse)
    scores = (q @ k.transpose(-1, -2)).float() * scale
    if causal:
        size = scores.shape[-1]
        scores = scores.masked_fill(torch.ones(size, size, dtype=torch.bool, device=q.device).triu(1), float("-inf"))
    if mask is not None:
        scores = scores + mask
    return Partial(scores.softmax(-1).to(v.dtype) @ v, scores.logsumexp(-1))


def fold(q: Tensor, num_kv_heads: int) -> Tensor:
    """[n, Hq, D] -> [1, Hkv, n * G, D]: the query heads of one KV head become rows of one matrix."""
    num_rows, _, dim = q.shape
    return q.view(num_rows, num_kv_heads, -1, dim).transpose(0, 1).reshape(1, num_kv_heads, -1, dim)


def unfold(part: Partial, num_rows: int) -> Partial:
    """The inverse of `fold` for a result: out [1, Hkv, n * G, D] -> [n, Hq, D]."""
    _, num_kv_heads, _, dim = part.out.shape
    out = part.out[0].view(num_kv_heads, num_rows, -1, dim).transpose(0, 1).reshape(num_rows, -1, dim)
    lse = part.lse[0].view(num_kv_heads, num_rows, -1).transpose(0, 1).reshape(num_rows, -1)
    return Partial(out, lse)


def merge_rows(base: Partial, rows: Tensor | slice, part: Partial) -> None:
    """Changes `base` at `rows`: as if both parts had been attended to in one softmax."""
    out, lse = base.out[rows], base.lse[rows]
    weight = torch.sigmoid(part.lse - lse).unsqueeze(-1).to(out.dtype)
    merged = torch.lerp(out, part.out, weight)
    if isinstance(rows, slice) and merged.shape == base.out.shape:
        base.out, base.lse = merged, torch.logaddexp(lse, part.lse)
    else:
        base.out[rows], base.lse[rows] = merged, torch.logaddexp(lse, part.lse)
