"""Attention written out as two matrix products, with its log-sum-exp, and the exact merge of two partial results."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.attention.spec import AttentionSpec
from workbench.kernels.codes import Rows, read_rows
from workbench.kernels.ops import attend_all, merge_, softmax_

ROWS_AT_ONCE = 512
"""A block of rows whose scores stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Attention over a part of the context: out [T, Hq, Dv] and the log-sum-exp of its scores [T, Hq], float32 (or empty)."""

    out: Tensor
    lse: Tensor


def attend(q: Tensor, k: Rows, v: Rows, spec: AttentionSpec) -> Partial:
    """Returns attention of q [n, Hq, D] over k [S, Hkv, D], v [S, Hkv, Dv]; every row sees all of them."""
    done = attend_all(q, k, v, scale=spec.scale, softcap=spec.softcap)
    if done is not None:
        return Partial(*done)
    num_heads = q.shape[1]
    keys, values = (x.transpose(0, 1) for x in read_both(k, v, slice(None), spec))
    rows = fold(q[None], k.shape[1]).split(ROWS_AT_ONCE, 1)
    parts = [products(part, keys, values, spec, group=1, with_lse=True) for part in rows]
    out, lse = parts[0] if len(parts) == 1 else [torch.cat(x, 1) for x in zip(*parts, strict=True)]
    return Partial(unfold(out, 1, num_heads), unfold(lse[..., None], 1, num_heads).squeeze(-1))


def attend_later(q: Tensor, k: Tensor, v: Tensor, spec: AttentionSpec) -> Partial:
    """Returns attention of rows q [n, Hq, D] to those behind them, of their own k [n, Hkv, D] and v [n, Hkv, Dv].

    The last row sees none, so the partial is that of the rows before it [n - 1, Hq, Dv].
    """
    num_rows, num_heads, _ = q.shape
    group = num_heads // k.shape[1]
    keys, values = (x[1:].transpose(0, 1) for x in (k, v))  # [Hkv, S, D]
    scores = torch.bmm(fold(q[None, :-1], k.shape[1]), keys.transpose(1, 2))  # [Hkv, (n - 1) * G, S]
    scores.mul_(cap_(scores, spec))
    row = torch.arange(num_rows - 1, device=q.device).repeat_interleave(group)[:, None]
    scores.masked_fill_(torch.arange(num_rows - 1, device=q.device)[None, :] < row, float("-inf"))
    lse = scores.float().logsumexp(-1)[..., None]
    out = torch.bmm(scores.softmax(-1), values)
    return Partial(unfold(out, 1, num_heads), unfold(lse, 1, num_heads).squeeze(-1))


def read_both(k: Rows, v: Rows, at: slice | Tensor, spec: AttentionSpec) -> tuple[Tensor, Tensor]:
    """Returns k [S, Hkv, D] and v [S, Hkv, Dv] of some slots; of values that are a part of their keys, a view."""
    keys = read_rows(k, at)
    return keys, keys[..., : spec.v_head_size] if spec.v_in_k else read_rows(v, at)


def products(
    q: Tensor, k: Tensor, v: Tensor, spec: AttentionSpec, *, group: int, visible: int | None = None, with_lse: bool,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns out [B, R, Dv] and lse [B, R] (or empty) of q [B, R, D] over k [B, S, D], v [B, S, Dv].

    Row r is a query head of token r // `group`; it sees the columns before `visible` + r // `group` and of those the last
    `spec.window`. Without `visible` it sees all. `bias` [B, R, S] is added to scaled scores.
    """
    scores = torch.bmm(q, k.transpose(1, 2))
    scale = cap_(scores, spec)
    if bias is not None:
        scores, scale = scores * scale + bias, 1.0
    window = None if visible is None else spec.window
    weights, lse = softmax_(scores, scale=scale, group=group, visible=visible, window=window, with_lse=with_lse)
    return torch.bmm(weights.to(v.dtype), v), lse


def cap_(scores: Tensor, spec: AttentionSpec) -> float:
    """Changes: caps the scores, where the spec has a cap. Returns the factor that they still lack."""
    if spec.softcap is None:
        return spec.scale
    scores.mul_(spec.scale / spec.softcap).tanh_().mul_(spec.softcap)
    return 1.0


def fold(q: Tensor, num_kv_heads: int) -> Tensor:
    """Returns [B * Hkv, n * G, D] of [B, n, Hq, D]: the query heads of one K/V head as rows of one matrix, token by token."""
    num_seqs, num_rows, num_heads, dim = q.shape
    grouped = q.view(num_seqs, num_rows, num_kv_heads, num_heads // num_kv_heads, dim)
    return grouped.transpose(1, 2).reshape(num_seqs * num_kv_heads, -1, dim)


def unfold(x: Tensor, num_seqs: int, num_heads: int) -> Tensor:
    """Returns [B * n, Hq, D] of [B * Hkv, n * G, D]: the inverse of `fold`."""
    num_kv_heads = x.shape[0] // num_seqs
    grouped = x.view(num_seqs, num_kv_heads, -1, num_heads // num_kv_heads, x.shape[2])
    return grouped.transpose(1, 2).reshape(-1, num_heads, x.shape[2])


def merge_rows(base: Partial, rows: Tensor | slice, part: Partial) -> None:
    """Changes `base` at `rows` to what one softmax over both parts gives."""
    out, lse = base.out[rows], base.lse[rows]
    merge_(out, lse, part.out, part.lse)
    if not isinstance(rows, slice):
        base.out[rows], base.lse[rows] = out, lse
