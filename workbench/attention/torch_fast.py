"""The default backend. K/V that several rows of a step share is read once; partial results are merged exactly.

The context of a sequence falls into two parts:
- *runs*: neighbouring slots that several sequences of the step share; without compiled operations also long ones of one. One
  call per run for all the rows below it, on a view of the store; the query heads of one K/V head are folded into rows, so it is
  a real matrix.
- the rest, its newest tokens among them: for a decoding sequence a list of slots, read in place (`tails`); for one with
  several new tokens blocks of rows, each up to itself (`prefill`).
The partial results of a row are merged by their log-sum-exp, which is exact.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

from workbench.attention.alone import are_whole, attend_alone
from workbench.attention.base import Own
from workbench.attention.kv import ViewableKV
from workbench.attention.merge import Partial, attend, attend_later, merge_rows
from workbench.attention.prefill import Prefills, attend_prefills
from workbench.attention.runs import Run, find_runs, rows_of
from workbench.attention.spec import AttentionSpec
from workbench.attention.step import Span, StepTensors, as_tensor, slots_of
from workbench.attention.tails import SlotLists, Tails, attend_tails
from workbench.kernels.codes import part_of
from workbench.kernels.decode import DecodeContext
from workbench.kernels.ops import attends_in_place


class FastAttention:
    def __init__(self, kv: ViewableKV) -> None:
        self.kv = kv
        self._lists = SlotLists()

    def prepare(self, step: StepTensors) -> FastStep:
        device, page_size = step.slots.device, step.page_size
        runs, rests = find_runs(step.spans, page_size, only_shared=attends_in_place(*self.kv.views(self.kv.layers[0])))
        decoding, prefilling = _split(step.spans)
        lists = self._lists.of(decoding, rests, page_size)
        contexts = [rests[span.seq_id].slots(page_size) for span in prefilling]
        placed = [(run, rows_of(run, step.spans, device)) for run in runs]
        return FastStep(self.kv, step, _layout(step, placed, decoding, lists, prefilling, contexts))


@dataclass(frozen=True, slots=True)
class Layout:
    """The K/V that each row attends to. Every row is in `tails` or in `prefills`, and in the runs above it."""

    runs: list[tuple[Run, Tensor | slice]]
    """Each run with the rows of the flat batch that attend to it."""
    prefills: Prefills | None
    tails: Tails | None


@dataclass(frozen=True, slots=True)
class FastStep:
    kv: ViewableKV
    step: StepTensors
    whole: Layout
    windowed: dict[int, Layout] = field(default_factory=dict)
    """Layouts by sliding window, made for the first layer that has it."""

    def attend(self, spec: AttentionSpec, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None) -> Tensor:
        self.kv.write(spec.layer, self.step.slots, k, v)
        layout = self._layout_for(spec.window) if spec.bias is None else self._lists(self._longest)
        store = self.kv.views(spec.layer)
        parts: list[tuple[Tensor | slice, Partial]] = []
        if layout.tails is not None:
            parts.append((layout.tails.rows, attend_tails(q[layout.tails.rows], *store, layout.tails, spec)))
        if layout.prefills is not None:
            with_lse = bool(layout.runs or self.step.mutual) or sinks is not None
            parts.append((layout.prefills.rows, attend_prefills(q, *store, layout.prefills, spec, with_lse=with_lse)))
        base = _assemble(q, spec.v_head_size, parts)
        for run, rows in layout.runs:
            keys, values = (part_of(x, slice(run.start, run.end)) for x in store)
            merge_rows(base, rows, attend(q[rows], keys, values, spec))
        for first, end in self.step.mutual:
            merge_rows(base, slice(first, end - 1), attend_later(q[first:end], k[first:end], v[first:end], spec))
        if sinks is None:
            return base.out
        return base.out * torch.sigmoid(base.lse - sinks)[..., None].to(base.out.dtype)

    def attend_alone(self, spec: AttentionSpec, k: Tensor, v: Tensor, own: Callable[[], Own]) -> Tensor | None:
        if not are_whole(self.step.spans) or self.step.mutual or self.kv.dtype != k.dtype:  # what is rounded must be read
            return None
        self.kv.write(spec.layer, self.step.slots, k, v)
        return attend_alone(self.step.spans, spec, *own())

    def decode_context(self, window: int | None) -> DecodeContext | None:
        """Returns what each row attends to in layers with this window, where all rows are new tokens of decoding sequences."""
        layout = self._layout_for(window)
        tails, runs = layout.tails, layout.runs
        if tails is None or layout.prefills is not None:
            return None
        members = [run.members for run, _ in runs]  # of a step with one row for each sequence, these are rows
        firsts = [0, *accumulate(map(len, members))]
        table = [[run.start, run.end, first, len(run.members)] for (run, _), first in zip(runs, firsts, strict=False)]
        rows = as_tensor([row for some in members for row in some], tails.slots.device)
        return DecodeContext(tails.slots, tails.starts, as_tensor(table, tails.slots.device), rows)

    def _layout_for(self, window: int | None) -> Layout:
        """Returns the layout of layers with this window. A window cuts runs and lists alike, so its layout has lists only."""
        return self.whole if window is None or self._longest <= window else self._lists(window)

    @property
    def _longest(self) -> int:
        return max(span.num_tokens for span in self.step.spans)

    def _lists(self, window: int) -> Layout:
        """Returns the layout of lists of the last `window` positions of each sequence, without runs."""
        if window not in self.windowed:
            spans, page_size = self.step.spans, self.step.page_size
            seen = {span: slots_of(span.segments, page_size, span.num_tokens)[1 - window - span.num_new :] for span in spans}
            decoding, prefilling = _split(spans)
            lists = [array("q", seen[span][-window:]) for span in decoding]
            self.windowed[window] = _layout(self.step, [], decoding, lists, prefilling, [seen[span] for span in prefilling])
        return self.windowed[window]


def _split(spans: tuple[Span, ...]) -> tuple[list[Span], list[Span]]:
    """Returns the spans with one new token, and those with more."""
    return [span for span in spans if span.num_new == 1], [span for span in spans if span.num_new > 1]


def _layout(
    step: StepTensors, runs: list[tuple[Run, Tensor | slice]], decoding: list[Span], lists: list[array[int]],
    prefilling: list[Span], contexts: list[list[int]],
) -> Layout:  # fmt: skip
    num_rows, device = len(step.positions), step.slots.device
    prefills = Prefills.of(prefilling, contexts, num_rows, device) if prefilling else None
    return Layout(runs, prefills, Tails.of(decoding, lists, num_rows, device) if decoding else None)


def _assemble(q: Tensor, v_head_size: int, parts: list[tuple[Tensor | slice, Partial]]) -> Partial:
    """Returns one partial for all rows of the step; every row is in exactly one part."""
    if len(parts) == 1 and isinstance(parts[0][0], slice):
        return parts[0][1]
    out = q.new_empty(*q.shape[:2], v_head_size)
    lse = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    for rows, part in parts:
        out[rows] = part.out
        if part.lse.numel():
            lse[rows] = part.lse
    return Partial(out, lse)
