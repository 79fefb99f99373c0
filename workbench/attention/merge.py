"""Attention that also returns its log-sum-exp, and the exact merge of two partial results."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS_AT_ONCE = 512
CAUSAL_ROWS = 64
"""Blocks whose scores stay in the processor's cache."""


@dataclass(slots=True)
class Partial:
    """Attention over a part of the context: out [T, Hq, D] and the log-sum-exp of its scores [T, Hq], float32."""

    out: Tensor
    lse: Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> Partial:
    """Rows q [n, Hq, D] over k, v [S, Hkv, D], all of them visible to every row."""
    num_rows, num_kv_heads = q.shape[0], k.shape[1]
    folded, keys, values = fold(q, num_kv_heads), k.transpose(0, 1)[None], v.transpose(0, 1)[None]
    if _has_fast_flash(q):
        out, lse = _flash(folded, keys, values, 0.0, False, scale=scale)
        return unfold(out, lse, num_rows)
    parts = [_products(rows * scale, keys, values) for rows in folded.split(ROWS_AT_ONCE, 2)]
    return unfold(torch.cat([out for out, _ in parts], 2), torch.cat([lse for _, lse in parts], 2), num_rows)


def attend_causal(q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> Partial:
    """New tokens of one sequence among themselves: row i of q [n, Hq, D] sees rows 0 to i of k, v [n, Hkv, D]."""
    num_rows, num_heads, _ = q.shape
    group = num_heads // k.shape[1]
    if _has_fast_flash(q):
        keys, values = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        out, lse = _flash(*(x.transpose(0, 1)[None] for x in (q, keys, values)), 0.0, True, scale=scale)
        return Partial(out[0].transpose(0, 1), lse[0].transpose(0, 1))
    keys, values = k.transpose(0, 1)[None], v.transpose(0, 1)[None]
    later = torch.ones(CAUSAL_ROWS, CAUSAL_ROWS, dtype=torch.bool, device=q.device).triu(1).repeat_interleave(group, 0)
    outs, lses = [], []
    for start in range(0, num_rows, CAUSAL_ROWS):
        size = min(CAUSAL_ROWS, num_rows - start)
        seen = start + size
        folded = fold(q[start:seen], k.shape[1]) * scale  # row r of a KV head is token r // G
        out, lse = _products(folded, keys[:, :, :seen], values[:, :, :seen], hidden=later[: size * group, :size])
        part = unfold(out, lse, size)
        outs.append(part.out)
        lses.append(part.lse)
    return Partial(torch.cat(outs), torch.cat(lses))


def _has_fast_flash(q: Tensor) -> bool:
    """torch's flash kernel for the CPU is the quickest in float32; in bfloat16 plain products are two to three times faster."""
    return q.device.type == "cpu" and q.dtype == torch.float32


_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def _products(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention written out, q [1, H, T, D] already scaled -> out [1, H, T, D], lse [1, H, T] float32.

    `hidden` [T, n] marks what each row may not see of the last n keys.
    """
    scores = torch.matmul(q, k.transpose(-1, -2))
    if hidden is not None:
        scores[..., -hidden.shape[1] :].masked_fill_(hidden, float("-inf"))
    peak = scores.amax(-1, keepdim=True)
    weights = scores.sub_(peak).exp_()
    total = weights.sum(-1, keepdim=True, dtype=torch.float32)
    out = torch.matmul(weights, v) / total.to(v.dtype)
    return out, (total.log() + peak).squeeze(-1)


def fold(q: Tensor, num_kv_heads: int) -> Tensor:
    """[n, Hq, D] -> [1, Hkv, n * G, D]: the query heads of one KV head become rows of one matrix."""
    num_rows, _, dim = q.shape
    return q.view(num_rows, num_kv_heads, -1, dim).transpose(0, 1).reshape(1, num_kv_heads, -1, dim)


def unfold(out: Tensor, lse: Tensor, num_rows: int) -> Partial:
    """The inverse of `fold` for a result: out [1, Hkv, n * G, D] -> [n, Hq, D]."""
    _, num_kv_heads, _, dim = out.shape
    return Partial(
        out[0].view(num_kv_heads, num_rows, -1, dim).transpose(0, 1).reshape(num_rows, -1, dim),
        lse[0].view(num_kv_heads, num_rows, -1).transpose(0, 1).reshape(num_rows, -1),
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
