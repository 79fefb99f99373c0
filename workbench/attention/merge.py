"""Attention that also returns its log-sum-exp, and the exact merge of two partial results."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS_AT_ONCE = 512
"""A block of rows whose scores stay in the processor's cache."""


@dataclass(slots=True)
class Partial:
    """Attention over a part of the context: out [T, Hq, D] and the log-sum-exp of its scores [T, Hq], float32."""

    out: Tensor
    lse: Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> Partial:
    """Rows q [n, Hq, D] over k, v [S, Hkv, D], all of them visible to every row."""
    num_rows, num_kv_heads = q.shape[0], k.shape[1]
    folded, keys, values = fold(q, num_kv_heads), k.transpose(0, 1), v.transpose(0, 1)
    if has_fast_flash(q):
        out, lse = flash(folded[None], keys[None], values[None], causal=False, scale=scale)
        return unfold(out[0], lse[0], num_rows)
    parts = [products(rows * scale, keys, values) for rows in folded.split(ROWS_AT_ONCE, 1)]
    return unfold(torch.cat([out for out, _ in parts], 1), torch.cat([lse for _, lse in parts], 1), num_rows)


def has_fast_flash(q: Tensor) -> bool:
    """torch's flash kernel for the CPU is the quickest in float32; in bfloat16 plain products are two to three times faster."""
    return q.device.type == "cpu" and q.dtype == torch.float32


def flash(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """q [B, H, T, D], k, v [B, H, S, D] -> out [B, H, T, D], lse [B, H, T] float32."""
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)
    return out, lse


def products(q: Tensor, k: Tensor, v: Tensor, *, hidden: Tensor | None = None, with_lse: bool = True) -> tuple[Tensor, Tensor]:
    """Attention written out, q [B, T, D] already scaled, k, v [B, S, D] -> out [B, T, D], lse [B, T] float32 or empty.

    `hidden` [T, n] is added to the scores of the last n keys: -inf where a row may not look.
    """
    scores = torch.bmm(q, k.transpose(1, 2))
    if hidden is not None:
        scores[..., -hidden.shape[1] :].add_(hidden)
    if not with_lse:
        return torch.bmm(scores.softmax(-1), v), q.new_empty(0)
    peak = scores.amax(-1, keepdim=True)
    weights = scores.sub_(peak).exp_()
    # A product with ones sums in float32 and several times faster than sum().
    total = torch.bmm(weights, v.new_ones(1, v.shape[1], 1).expand(len(v), -1, -1))
    return torch.bmm(weights, v).div_(total), (total.float().log_() + peak).squeeze(-1)


def fold(q: Tensor, num_kv_heads: int) -> Tensor:
    """[n, Hq, D] -> [Hkv, n * G, D]: the query heads of one KV head become rows of one matrix."""
    return q.unflatten(1, (num_kv_heads, -1)).transpose(0, 1).reshape(num_kv_heads, -1, q.shape[2])


def unfold(out: Tensor, lse: Tensor, num_rows: int) -> Partial:
    """The inverse of `fold` for a result: out [Hkv, n * G, D] -> [n, Hq, D]."""
    num_kv_heads, _, dim = out.shape
    return Partial(
        out.view(num_kv_heads, num_rows, -1, dim).transpose(0, 1).reshape(num_rows, -1, dim),
        lse.view(num_kv_heads, num_rows, -1).transpose(0, 1).reshape(num_rows, -1),
    )


def merge_rows(base: Partial, rows: Tensor | slice, part: Partial) -> None:
    """Changes `base` at `rows`: as if both parts had been attended to in one softmax."""
    out, lse = base.out[rows], base.lse[rows]
    weight = torch.sigmoid(part.lse - lse).unsqueeze(-1).to(out.dtype)
    merged = torch.lerp(out, part.out, weight)
    if isinstance(rows, slice) and merged.shape == base.out.shape:
        base.out, base.lse = merged, torch.logaddexp(lse, part.lse)
    else:
        base.out[rows], base.lse[rows] = merged, torch.logaddexp(lse, part.lse)
