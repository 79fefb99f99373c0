"""New tokens of several sequences among themselves, sequences of similar length together in one batched call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.attention.merge import Partial, flash, has_fast_flash, products
from workbench.attention.step import Span, as_tensor

LENGTH_STEP = 32
"""Sequences are padded up to a multiple of this to share a call."""
ROWS_AT_ONCE = 128
"""Tokens of each sequence in one block, whose scores stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences with several new tokens, as a batch [B, n] of rows."""

    rows: Tensor | slice
    """Rows of the flat batch, sequence by sequence."""
    num_seqs: int
    length: int
    padded: Tensor | None
    """Row of the flat batch for each place of the batch [B * n]; None when nothing is padded."""
    places: Tensor | None
    """The places that hold a row, in the order of `rows`."""


def group_prefills(spans: list[Span], device: torch.device) -> list[Group]:
    buckets: dict[int, list[Span]] = {}
    for span in spans:
        buckets.setdefault(-(-span.num_new // LENGTH_STEP), []).append(span)
    return [_group(members, device) for members in buckets.values()]


def _group(spans: list[Span], device: torch.device) -> Group:
    length = max(span.num_new for span in spans)
    rows = [row for span in spans for row in range(span.start, span.start + span.num_new)]
    neighbours = rows[-1] - rows[0] == len(rows) - 1
    where = slice(rows[0], rows[-1] + 1) if neighbours else as_tensor(rows, device)
    if len(rows) == len(spans) * length:
        return Group(where, len(spans), length, None, None)
    # A place beyond a sequence's end repeats its last row; nobody reads the result.
    padded = [span.start + min(i, span.num_new - 1) for span in spans for i in range(length)]
    places = [seq * length + i for seq, span in enumerate(spans) for i in range(span.num_new)]
    return Group(where, len(spans), length, as_tensor(padded, device), as_tensor(places, device))


def attend_among_new(q: Tensor, k: Tensor, v: Tensor, group: Group, *, scale: float, with_lse: bool) -> Partial:
    """Row i of a sequence sees its rows 0 to i. q [T, Hq, D], k, v [T, Hkv, D] -> the partial of `group.rows`."""
    take = group.rows if group.padded is None else group.padded
    batch = (x[take].unflatten(0, (group.num_seqs, group.length)) for x in (q, k, v))
    part = _causal(*batch, scale=scale, with_lse=with_lse)
    if group.places is None:
        return part
    return Partial(part.out[group.places], part.lse[group.places] if with_lse else part.lse)


def _causal(q: Tensor, k: Tensor, v: Tensor, *, scale: float, with_lse: bool) -> Partial:
    """q [B, n, Hq, D], k, v [B, n, Hkv, D] -> out [B * n, Hq, D], lse [B * n, Hq] or empty."""
    num_seqs, length, num_heads, dim = q.shape
    num_kv_heads = k.shape[2]
    group = num_heads // num_kv_heads
    if has_fast_flash(q):
        keys, values = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
        out, lse = flash(*(x.transpose(1, 2) for x in (q, keys, values)), causal=True, scale=scale)
        return Partial(out.transpose(1, 2).flatten(0, 1), lse.transpose(1, 2).flatten(0, 1))
    keys, values = k.transpose(1, 2).flatten(0, 1), v.transpose(1, 2).flatten(0, 1)  # [B * Hkv, n, D]
    # The query heads of one KV head become rows of one matrix: row r of a KV head is token r // G.
    folded = (q * scale).unflatten(2, (num_kv_heads, group)).transpose(1, 2).reshape(num_seqs * num_kv_heads, -1, dim)
    size = min(length, ROWS_AT_ONCE)
    later = q.new_full((size, size), float("-inf")).triu(1).repeat_interleave(group, 0)
    out, lse = torch.empty_like(folded), folded.new_empty(folded.shape[:2] if with_lse else (0,), dtype=torch.float32)
    for start in range(0, length, ROWS_AT_ONCE):
        end = min(start + ROWS_AT_ONCE, length)
        rows, num = slice(start * group, end * group), end - start
        hidden = later[: num * group, :num]
        block, block_lse = products(folded[:, rows], keys[:, :end], values[:, :end], hidden=hidden, with_lse=with_lse)
        out[:, rows] = block
        if with_lse:
            lse[:, rows] = block_lse
    shape = (num_seqs, num_kv_heads, length, group)
    return Partial(
        out.view(*shape, dim).transpose(1, 2).reshape(-1, num_heads, dim),
        lse.view(shape).transpose(1, 2).reshape(-1, num_heads) if with_lse else lse,
    )
