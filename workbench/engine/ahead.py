"""The plan of a step before the tokens are known that the step before it draws, so that no step waits for its plan.

It is made where these tokens are all that is unknown: all requests decode, none waits, pages are free, and no draw depends
on earlier tokens (constraints, penalties, custom processors, drafts). Whatever else happens, an end token, a new request, a
full pool, has the scheduler plan again. So outputs are the same with and without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from workbench.engine.plan import PlannedSeq, StepPlan, StepResult
from workbench.engine.sequence import Sequence

if TYPE_CHECKING:
    from workbench.engine.scheduler import Scheduler

NOT_DRAWN = -1


def plan_ahead(scheduler: Scheduler, plan: StepPlan) -> StepPlan | None:
    """Returns the step after `plan`, which is being computed, without its tokens; None if more than these is open.

    Changes: the sequences get pages for one more token, and nothing is evicted for them.
    """
    running = scheduler.batch.by_id()
    if scheduler.waiting or scheduler.has_drafts or len(plan.seqs) != len(running):
        return None
    pairs = [(running[planned.seq_id], planned) for planned in plan.seqs if planned.seq_id in running]
    if len(pairs) != len(running) or not all(_goes_on(seq, planned) for seq, planned in pairs):
        return None
    has_room = all(scheduler.batch.grow_into_free(seq, seq.num_tokens + 1) for seq, _ in pairs)
    scheduler.cache.tell_taken()  # also of those that found room before one did not: they may end and give it back
    if not has_room:
        return None
    seqs = tuple(_next(seq, planned) for seq, planned in pairs)
    return StepPlan(plan.step + 1, seqs, plan.page_size, scheduler.detail, plan.looked_at)


def with_draws(ahead: StepPlan, result: StepResult, scheduler: Scheduler) -> StepPlan | None:
    """Returns the plan with the tokens that the step before it drew; None where one of them ends its request.

    Changes: this is the step that the scheduler has planned last.
    """
    running, seqs = scheduler.batch.by_id(), []
    for planned, done in zip(ahead.seqs, result.seqs, strict=True):
        (drawn,) = done.drawn
        if drawn.error or running[planned.seq_id].output.is_end(drawn.token_id):
            return None
        seqs.append(structs.replace(planned, token_ids=(drawn.token_id,)))
    scheduler.has_planned(ahead.step)
    return structs.replace(ahead, seqs=tuple(seqs))


def _goes_on(seq: Sequence, planned: PlannedSeq) -> bool:
    """Returns whether all that is open about a sequence after its next draw is this token, unless it ends its output."""
    request, output = seq.request, seq.output
    draws_freely = output.matcher is None and seq.processor is None and not request.params.has_penalties
    is_plain = planned.is_decode and len(planned.rows) == 1 and seq.num_pending == 1 and seq.finish is None
    return is_plain and draws_freely and seq.num_left > 1 and not seq.to_score and not request.return_hidden_states


def _next(seq: Sequence, planned: PlannedSeq) -> PlannedSeq:
    assert seq.lease is not None
    row = planned.rows[0]
    position = row.position + 1
    suppress = row.suppress if position < seq.request.params.min_new_tokens else ()
    return structs.replace(
        planned,
        token_ids=(NOT_DRAWN,),
        num_cached=planned.num_tokens,
        segments=seq.lease.segments(),
        rows=(structs.replace(row, position=position, suppress=suppress),),
    )
