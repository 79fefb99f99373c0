"""The default backend. K/V that several rows of a step share is read once; partial results are merged exactly.

The context of a sequence falls into three parts:
- *runs*: stretches of neighbouring slots, long or shared by several sequences of the step. One call per run for all the
  rows below it, on a view of the store; the query heads of one KV head are folded into rows, so it is a real matrix.
- the *tail* of a decoding sequence: what no run covers, its newest tokens among them. All tails are one batched call on
  a dense workspace that keeps a copy of them from step to step, so that nothing is gathered per layer.
- for a sequence with several new tokens, those tokens among themselves (causal), and the rest of its context (gathered).
The partial results of a row are merged by their log-sum-exp, which is exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench.attention.kv import KVStore
from workbench.attention.merge import Partial, attend, merge_rows
from workbench.attention.prefill import Group, attend_among_new, group_prefills
from workbench.attention.runs import Run, find_runs, rows_of
from workbench.attention.step import StepTensors, as_tensor
from workbench.attention.torch_ref import ReferenceAttention, RefPlan
from workbench.attention.workspace import Tails, Workspace


@dataclass(slots=True)
class FastPlan:
    step: StepTensors
    runs: list[tuple[Run, Tensor | slice]]
    """Each run with the rows of the flat batch that attend to it."""
    prefills: list[Group]
    rests: list[tuple[slice, Tensor]]
    """Rows of a prefill with slots of cached context that no run covers."""
    tails: Tails | None
    longest: int
    """Tokens of the longest context in the step."""
    reference: RefPlan | None = field(default=None)


class FastAttention:
    def __init__(self, kv: KVStore) -> None:
        self.kv = kv
        self.workspace = Workspace(kv)
        self._reference = ReferenceAttention(kv)

    def prepare(self, step: StepTensors) -> FastPlan:
        device = step.slots.device
        runs, rests = find_runs(step.spans, step.page_size)
        decoding = [span for span in step.spans if span.num_new == 1]
        tails = self.workspace.place(decoding, rests, step.page_size, len(step.positions)) if decoding else None
        prefilling = [span for span in step.spans if span.num_new > 1]
        own = {span: rests[span.seq_id].slots(step.page_size)[: -span.num_new] for span in prefilling}
        return FastPlan(
            step,
            [(run, rows_of(run, step.spans, device)) for run in runs],
            group_prefills(prefilling, device),
            [(slice(span.start, span.start + span.num_new), as_tensor(own[span], device)) for span in prefilling if own[span]],
            tails,
            max(span.num_tokens for span in step.spans),
        )

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, plan: FastPlan, *, scale: float,
        window: int | None = None, softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        self.kv.write(layer, plan.step.slots, k, v)
        if plan.tails is not None:
            self.workspace.write(layer, plan.tails, k, v)
        if softcap is not None or (window is not None and plan.longest > window):
            return self._read_reference(layer, q, plan, scale=scale, window=window, softcap=softcap)
        with_lse = bool(plan.runs or plan.rests)
        parts: list[tuple[Tensor | slice, Partial]] = []
        if plan.tails is not None:
            part = self.workspace.attend(layer, q[plan.tails.rows], plan.tails, scale, with_lse=with_lse)
            parts.append((plan.tails.rows, part))
        parts += [(new.rows, attend_among_new(q, k, v, new, scale=scale, with_lse=with_lse)) for new in plan.prefills]
        base = _assemble(q, parts)
        for rows, partial in self._cached(layer, q, plan, scale):
            merge_rows(base, rows, partial)
        return base.out.to(q.dtype)

    def _cached(self, layer: int, q: Tensor, plan: FastPlan, scale: float) -> Iterable[tuple[Tensor | slice, Partial]]:
        """The cached parts: runs for everybody below them, then what is left of each prefill."""
        keys, values = self.kv.k[layer], self.kv.v[layer]
        for run, rows in plan.runs:
            yield rows, attend(q[rows], keys[run.start : run.end], values[run.start : run.end], scale=scale)
        for rows, slots in plan.rests:
            yield rows, attend(q[rows], keys[slots], values[slots], scale=scale)

    def _read_reference(self, layer: int, q: Tensor, plan: FastPlan, **how: float | int | None) -> Tensor:
        if plan.reference is None:
            plan.reference = self._reference.prepare(plan.step)
        return self._reference.read(layer, q, plan.reference, **how)  # type: ignore[arg-type]


def _assemble(q: Tensor, parts: list[tuple[Tensor | slice, Partial]]) -> Partial:
    """One partial for all rows of the step; every row is in exactly one part."""
    if len(parts) == 1 and isinstance(parts[0][0], slice):
        return parts[0][1]
    out = torch.empty_like(q)
    lse = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    for rows, part in parts:
        out[rows] = part.out
        if part.lse.numel():
            lse[rows] = part.lse
    return Partial(out, lse)
