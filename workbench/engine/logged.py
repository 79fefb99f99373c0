"""The core's own events, made of sequences and steps: arrival, compiled constraint, end, executed step."""

from __future__ import annotations

from workbench.cache.prefix import PrefixCache
from workbench.engine.scheduler import Outcome
from workbench.engine.sequence import Sequence
from workbench.engine.step import Step
from workbench.events import NUM_FIRST, GrammarCompiled, RequestArrived, RequestFinished, StepExecuted, StepMember
from workbench.grammar.matcher import Made
from workbench.types import FinishReason, first_of


def arrived(seq: Sequence, pictures: tuple[int, ...]) -> RequestArrived:
    """Returns the arrival of a request whose pictures have these numbers."""
    request = seq.request
    return RequestArrived(
        time=seq.arrived, rid=seq.rid, num_prompt=seq.num_prompt, max_new_tokens=request.params.max_new_tokens,
        namespace=request.namespace, priority=request.priority, grammar=request.params.constraint,
        first_ids=first_of(seq.prompt_key, NUM_FIRST), origin=request.origin, pictures=pictures,
    )  # fmt: skip


def compiled(seq: Sequence, made: Made, now: float) -> GrammarCompiled:
    """Returns the way in which the constraint of a request was compiled."""
    spec = seq.request.params.constraint
    return GrammarCompiled(
        time=now, rid=seq.rid, kind=spec.kind if spec else "", backend=made.backend, where=made.where, seconds=made.seconds,
        num_bytes=made.num_bytes, is_cached=made.is_cached,
    )  # fmt: skip


def finished(seq: Sequence, reason: FinishReason, now: float) -> RequestFinished:
    """Returns the end of a request. Tokens that were held back to the end are no part of its output."""
    detail = reason.message or ("" if reason.matched is None else repr(reason.matched))
    if reason.type == "stop" and reason.constraint is not None:
        detail += ", its constraint is not satisfied"
    return RequestFinished(
        time=now, rid=seq.rid, reason=reason.type, detail=detail, num_prompt=seq.num_prompt, num_cached=seq.num_reused,
        num_output=len(seq.output_ids) - seq.output.num_held,
    )  # fmt: skip


def executed(
    step: Step, outcomes: list[Outcome], cache: PrefixCache, budget_left: int, commit_s: float, now: float, *, is_overlapped: bool
) -> StepExecuted:
    """Returns a step that was committed in `commit_s`. Time in which the next step was computed delayed nothing."""
    num_kept = {outcome.seq.seq_id: outcome.num_kept for outcome in outcomes}
    members = tuple(
        StepMember(seq.rid, seq.num_cached, num_kept.get(seq.seq_id, 0), "decode" if seq.is_decode else "prefill",
                   seq.num_pictured)
        for seq in step.plan.seqs
    )  # fmt: skip
    return StepExecuted(
        time=now, step=step.plan.step, members=members, plan_s=step.plan_s, execute_s=step.execute_s,
        commit_s=0.0 if is_overlapped else commit_s, overlapped_s=step.overlapped_s + (commit_s if is_overlapped else 0.0),
        budget_left=budget_left, num_waiting=step.num_waiting, pages_free=cache.num_free_pages, pages_tree=cache.num_tree_pages,
        pages_owned=cache.num_owned_pages,
    )  # fmt: skip
