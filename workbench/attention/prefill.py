"""Sequences with several new tokens: each new token over the context up to itself.

The compiled operation reads the contexts in place. Without it, sequences of similar length go through torch together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.attention.merge import Partial, fold, products, read_both, unfold
from workbench.attention.spec import AttentionSpec
from workbench.attention.step import Span, as_tensor
from workbench.kernels.codes import Rows
from workbench.kernels.ops import attend_causal

LENGTH_STEP = 32
"""Tokens to a multiple of which sequences are padded, to share a call."""
ROWS_AT_ONCE = 128
"""Tokens of each sequence in one block, whose scores stay in the processor's cache."""


@dataclass(slots=True)
class Prefills:
    """Rows of a step that belong to sequences with several new tokens."""

    rows: Tensor | slice
    spans: list[Span]
    contexts: list[list[int]]
    """Slots each span attends to, its own tokens last."""
    starts: Tensor  # [B + 1]
    slots: Tensor  # [sum of lengths]
    bounds: Tensor  # [B, 2], first and end row
    _batches: list[PaddedBatch] | None = None

    @classmethod
    def of(cls, spans: list[Span], contexts: list[list[int]], num_rows: int, device: torch.device) -> Prefills:
        bounds = [(span.start, span.start + span.num_new) for span in spans]
        rows = [row for first, end in bounds for row in range(first, end)]
        starts = torch.tensor([0, *map(len, contexts)], device=device).cumsum(0)
        slots = torch.tensor([slot for context in contexts for slot in context], device=device)
        where = slice(None) if len(rows) == num_rows else as_tensor(rows, device)
        return cls(where, spans, contexts, starts, slots, torch.tensor(bounds, device=device))

    def batches(self) -> list[PaddedBatch]:
        if self._batches is None:
            self._batches = _batches(self.spans, self.contexts, self.slots.device)
        return self._batches


def attend_prefills(q: Tensor, k: Rows, v: Rows, prefills: Prefills, spec: AttentionSpec, *, with_lse: bool) -> Partial:
    """Returns the partial of `prefills.rows`, of q [T, Hq, D] over the layer's k [slots, Hkv, D] and v [slots, Hkv, Dv]."""
    done = None if spec.bias is not None else attend_causal(
        q, k, v, prefills.slots, prefills.starts, prefills.bounds,
        scale=spec.scale, window=spec.window, softcap=spec.softcap,
    )  # fmt: skip
    if done is not None:
        out, lse = done
        return Partial(out[prefills.rows], lse[prefills.rows])
    out = q.new_empty(*q.shape[:2], v.shape[-1])
    lse = torch.empty(q.shape[:2] if with_lse else (0,), dtype=torch.float32, device=q.device)
    for batch in prefills.batches():
        part = _attend_batch(q, k, v, batch, spec, with_lse=with_lse)
        out[batch.rows] = part.out
        if with_lse:
            lse[batch.rows] = part.lse
    return Partial(out[prefills.rows], lse[prefills.rows] if with_lse else lse)


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """A batch [B, n] of new tokens with their context [B, S]; it ends with the new tokens themselves."""

    rows: Tensor | slice
    """Their rows of the flat batch, sequence by sequence."""
    num_seqs: int
    length: int
    slots: Tensor
    """Slots of their contexts [B * S]."""
    padded: Tensor | None = None
    """Row of the flat batch for each place of the batch [B * n]; None when nothing is padded."""
    places: Tensor | None = None
    """Places that hold a row, in the order of `rows`."""


def _batches(spans: list[Span], contexts: list[list[int]], device: torch.device) -> list[PaddedBatch]:
    """Returns one batch for each sequence that has a context before its new tokens, and one for each similar length."""
    alone, buckets = [], dict[int, list[tuple[Span, list[int]]]]()
    for span, slots in zip(spans, contexts, strict=True):
        if len(slots) > span.num_new:
            rows = slice(span.start, span.start + span.num_new)
            alone.append(PaddedBatch(rows, 1, span.num_new, as_tensor(slots, device)))
        else:
            buckets.setdefault(-(-span.num_new // LENGTH_STEP), []).append((span, slots))
    return alone + [_batch(members, device) for members in buckets.values()]


def _batch(members: list[tuple[Span, list[int]]], device: torch.device) -> PaddedBatch:
    """Returns the batch of sequences that have no context before their new tokens."""
    spans = [span for span, _ in members]
    length = max(span.num_new for span in spans)
    rows = [row for span in spans for row in range(span.start, span.start + span.num_new)]
    neighbours = rows[-1] - rows[0] == len(rows) - 1
    where = slice(rows[0], rows[-1] + 1) if neighbours else as_tensor(rows, device)
    # A place beyond a sequence's end repeats its last row; its result is not read.
    slots = as_tensor([context[min(i, span.num_new - 1)] for span, context in members for i in range(length)], device)
    if len(rows) == len(spans) * length:
        return PaddedBatch(where, len(spans), length, slots)
    padded = [span.start + min(i, span.num_new - 1) for span in spans for i in range(length)]
    places = [seq * length + i for seq, span in enumerate(spans) for i in range(span.num_new)]
    return PaddedBatch(where, len(spans), length, slots, as_tensor(padded, device), as_tensor(places, device))


def _attend_batch(q: Tensor, k: Rows, v: Rows, part: PaddedBatch, spec: AttentionSpec, *, with_lse: bool) -> Partial:
    """Returns the partial of `part.rows`."""
    take = part.rows if part.padded is None else part.padded
    queries = q[take].unflatten(0, (part.num_seqs, part.length))
    keys, values = (x.unflatten(0, (part.num_seqs, -1)) for x in read_both(k, v, part.slots, spec))
    out, lse = _causal(queries, keys, values, spec, with_lse)
    if part.places is None:
        return Partial(out, lse)
    return Partial(out[part.places], lse[part.places] if with_lse else lse)


def _causal(q: Tensor, k: Tensor, v: Tensor, spec: AttentionSpec, with_lse: bool) -> tuple[Tensor, Tensor]:
    """Returns out [B * n, Hq, Dv] and lse [B * n, Hq] (or empty) of q [B, n, Hq, D] over k [B, S, Hkv, D], v [B, S, Hkv, Dv].

    Row i sees the columns up to S - n + i.
    """
    num_seqs, length, num_heads, _ = q.shape
    num_cached, num_kv_heads = k.shape[1] - length, k.shape[2]
    group = num_heads // num_kv_heads
    keys, values = k.transpose(1, 2).flatten(0, 1), v.transpose(1, 2).flatten(0, 1)  # [B * Hkv, S, D]
    folded = fold(q, num_kv_heads)
    out = folded.new_empty(*folded.shape[:2], v.shape[-1])
    lse = folded.new_empty(folded.shape[:2] if with_lse else (0,), dtype=torch.float32)
    for start in range(0, length, ROWS_AT_ONCE):
        end = min(start + ROWS_AT_ONCE, length)
        first = 0 if spec.window is None else max(0, num_cached + start + 1 - spec.window)
        rows, columns = slice(start * group, end * group), slice(first, num_cached + end)
        out[:, rows], block_lse = products(
            folded[:, rows], keys[:, columns], values[:, columns], spec,
            group=group, visible=num_cached + start + 1 - first, with_lse=with_lse,
            bias=_bias(spec, num_seqs, num_cached + start, num_cached + end, q.device),
        )  # fmt: skip
        if with_lse:
            lse[:, rows] = block_lse
    return unfold(out, num_seqs, num_heads), unfold(lse[..., None], num_seqs, num_heads).squeeze(-1) if with_lse else lse


def _bias(spec: AttentionSpec, num_seqs: int, first: int, end: int, device: torch.device) -> Tensor | None:
    """Returns what is added to the scores [B * Hkv, n * G, S] of tokens at positions [first, end) over those from 0 on."""
    if spec.bias is None:
        return None
    found = spec.bias(torch.arange(first, end, device=device)[:, None], torch.arange(end, device=device)[None])  # [Hq, n, S]
    grouped = found.unflatten(0, (spec.num_kv_heads, -1)).transpose(1, 2).flatten(1, 2)
    return grouped.repeat(num_seqs, 1, 1)
