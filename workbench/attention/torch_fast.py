"""The default backend. K/V that several rows of a step share is read once; partial results are merged exactly.

The context of a sequence falls into two parts:
- *runs*: stretches of neighbouring slots, long or shared by several sequences of the step. One call per run for all the
  rows below it, on a view of the store; the query heads of one KV head are folded into rows, so it is a real matrix.
- the rest, its newest tokens among them: for a decoding sequence a list of slots, read in place (`tails`); for one with
  several new tokens blocks of rows, each up to itself (`prefill`).
The partial results of a row are merged by their log-sum-exp, which is exact.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench.attention.kv import KVStore
from workbench.attention.merge import How, Partial, attend, merge_rows
from workbench.attention.prefill import Prefills, attend_prefills
from workbench.attention.runs import Run, find_runs, rows_of
from workbench.attention.step import Span, StepTensors, slots_of
from workbench.attention.tails import SlotLists, Tails, attend_tails


@dataclass(frozen=True, slots=True)
class Layout:
    """Who attends to what. Every row is in `tails` or in `prefills`, and in the runs above it."""

    runs: list[tuple[Run, Tensor | slice]]
    """Each run with the rows of the flat batch that attend to it."""
    prefills: Prefills | None
    tails: Tails | None


@dataclass(frozen=True, slots=True)
class FastPlan:
    step: StepTensors
    whole: Layout
    windowed: dict[int, Layout] = field(default_factory=dict)
    """Layouts of layers that see only so many positions; made when the first of them asks."""


class FastAttention:
    def __init__(self, kv: KVStore) -> None:
        self.kv = kv
        self._lists = SlotLists()

    def prepare(self, step: StepTensors) -> FastPlan:
        device, page_size = step.slots.device, step.page_size
        runs, rests = find_runs(step.spans, page_size)
        decoding, prefilling = _split(step.spans)
        lists = self._lists.of(decoding, rests, page_size)
        contexts = [rests[span.seq_id].slots(page_size) for span in prefilling]
        placed = [(run, rows_of(run, step.spans, device)) for run in runs]
        return FastPlan(step, _layout(step, placed, decoding, lists, prefilling, contexts))

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, plan: FastPlan, *, scale: float,
        window: int | None = None, softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        self.kv.write(layer, plan.step.slots, k, v)
        layout, how = self._layout_for(plan, window), How(scale, window, softcap)
        store = self.kv.k[layer], self.kv.v[layer]
        parts: list[tuple[Tensor | slice, Partial]] = []
        if layout.tails is not None:
            parts.append((layout.tails.rows, attend_tails(q[layout.tails.rows], *store, layout.tails, how)))
        if layout.prefills is not None:
            with_lse = bool(layout.runs)
            parts.append((layout.prefills.rows, attend_prefills(q, k, v, store, layout.prefills, how, with_lse=with_lse)))
        base = _assemble(q, parts)
        for run, rows in layout.runs:
            keys, values = (x[run.start : run.end] for x in store)
            merge_rows(base, rows, attend(q[rows], keys, values, how))
        return base.out

    def _layout_for(self, plan: FastPlan, window: int | None) -> Layout:
        """A window cuts runs and lists alike, so such layers get lists of their own: the last slots of each context."""
        spans = plan.step.spans
        if window is None or max(span.num_tokens for span in spans) <= window:
            return plan.whole
        if window not in plan.windowed:
            page_size = plan.step.page_size
            seen = {span: slots_of(span.segments, page_size, span.num_tokens)[1 - window - span.num_new :] for span in spans}
            decoding, prefilling = _split(spans)
            lists = [array("q", seen[span][-window:]) for span in decoding]
            plan.windowed[window] = _layout(plan.step, [], decoding, lists, prefilling, [seen[span] for span in prefilling])
        return plan.windowed[window]


def _split(spans: tuple[Span, ...]) -> tuple[list[Span], list[Span]]:
    """(those with one new token, those with more)"""
    return [span for span in spans if span.num_new == 1], [span for span in spans if span.num_new > 1]


def _layout(
    step: StepTensors, runs: list[tuple[Run, Tensor | slice]], decoding: list[Span], lists: list[array[int]],
    prefilling: list[Span], contexts: list[list[int]],
) -> Layout:  # fmt: skip
    num_rows, device = len(step.positions), step.slots.device
    prefills = Prefills.of(prefilling, contexts, num_rows, device) if prefilling else None
    return Layout(runs, prefills, Tails.of(decoding, lists, num_rows, device) if decoding else None)


def _assemble(q: Tensor, parts: list[tuple[Tensor | slice, Partial]]) -> Partial:
    """One partial for all rows of the step; every row is in exactly one part."""
    if len(parts) == 1 and isinstance(parts[0][0], slice):
        return parts[0][1]
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    lse = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    for rows, part in parts:
        out[rows] = part.out
        if part.lse.numel():
            lse[rows] = part.lse
    return Partial(out, lse)
