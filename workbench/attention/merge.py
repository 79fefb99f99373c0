"""Attention written out as two matrix products, with its log-sum-exp, and the exact merge of two partial results."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.kernels.ops import attend_all, merge_, softmax_

ROWS_AT_ONCE = 512
"""A block of rows whose scores stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class How:
    """What turns scores s into weights: softmax(softcap * tanh(scale * s / softcap)), without a cap softmax(scale * s)."""

    scale: float
    window: int | None = None
    """A row attends to so many positions up to its own."""
    softcap: float | None = None


@dataclass(frozen=True, slots=True)
class Partial:
    """Attention over a part of the context: out [T, Hq, D] and the log-sum-exp of its scores [T, Hq], float32 (or empty)."""

    out: Tensor
    lse: Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, how: How) -> Partial:
    """Rows q [n, Hq, D] over k, v [S, Hkv, D], all of them visible to every row."""
    if how.softcap is None:
        done = attend_all(q, k, v, scale=how.scale)
        if done is not None:
            return Partial(*done)
    num_heads = q.shape[1]
    keys, values = k.transpose(0, 1), v.transpose(0, 1)
    rows = fold(q[None], k.shape[1]).split(ROWS_AT_ONCE, 1)
    parts = [products(part, keys, values, how, group=1, with_lse=True) for part in rows]
    out, lse = parts[0] if len(parts) == 1 else [torch.cat(x, 1) for x in zip(*parts, strict=True)]
    return Partial(unfold(out, 1, num_heads), unfold(lse[..., None], 1, num_heads).squeeze(-1))


def products(
    q: Tensor, k: Tensor, v: Tensor, how: How, *, group: int, visible: int | None = None, with_lse: bool
) -> tuple[Tensor, Tensor]:
    """q [B, R, D], k, v [B, S, D] -> out [B, R, D], lse [B, R] or empty.

    Row r is a query head of token r // `group`; it sees the columns before `visible` + r // `group` (by default all), of
    those the last `how.window`.
    """
    scores = torch.bmm(q, k.transpose(1, 2))
    scale = how.scale
    if how.softcap is not None:
        scores, scale = scores.mul_(scale / how.softcap).tanh_().mul_(how.softcap), 1.0
    window = None if visible is None else how.window
    weights, lse = softmax_(scores, scale=scale, group=group, visible=visible, window=window, with_lse=with_lse)
    return torch.bmm(weights, v), lse


def fold(q: Tensor, num_kv_heads: int) -> Tensor:
    """[B, n, Hq, D] -> [B * Hkv, n * G, D]: the query heads of one KV head become rows of one matrix, token by token."""
    num_seqs, num_rows, num_heads, dim = q.shape
    grouped = q.view(num_seqs, num_rows, num_kv_heads, num_heads // num_kv_heads, dim)
    return grouped.transpose(1, 2).reshape(num_seqs * num_kv_heads, -1, dim)


def unfold(x: Tensor, num_seqs: int, num_heads: int) -> Tensor:
    """The inverse of `fold`: [B * Hkv, n * G, D] -> [B * n, Hq, D]."""
    num_kv_heads = x.shape[0] // num_seqs
    grouped = x.view(num_seqs, num_kv_heads, -1, num_heads // num_kv_heads, x.shape[2])
    return grouped.transpose(1, 2).reshape(-1, num_heads, x.shape[2])


def merge_rows(base: Partial, rows: Tensor | slice, part: Partial) -> None:
    """Changes `base` at `rows`: as if both parts had been attended to in one softmax."""
    out, lse = base.out[rows], base.lse[rows]
    merge_(out, lse, part.out, part.lse)
    if not isinstance(rows, slice):
        base.out[rows], base.lse[rows] = out, lse
