"""Decides which sequences compute which tokens in the next step: `plan` decides and reserves, `commit` applies the results.

Rules, in order:
1. A step is a prefill step if a sequence has more than its next token pending, else a decode step. With
   `enable_mixed_chunk` decode tokens ride along in prefill steps. A short stretch that a grammar forced rides along in decode
   steps, so that jumping holds up no other request.
2. Sequences in the middle of their prompt go on first, then waiting requests enter (`Admission`), until the token
   budget, the batch or the memory is used up.
3. When decode runs out of pages, the request with the least output, of those with the lowest priority, goes back to the
   queue (`Batch.retract`).
4. Drafts, where there are any, ride along in decode steps on free pages. What a step draws is the same with and without.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Struct, structs

from workbench.cache.prefix import PrefixCache
from workbench.engine.admission import Admission
from workbench.engine.batch import Batch, Promise
from workbench.engine.limits import CoreConfig
from workbench.engine.output import NOTHING, Tail
from workbench.engine.plan import PlannedSeq, Sampled, SeqResult, StepPlan, StepResult
from workbench.engine.planning import Planner, Prefill
from workbench.engine.policy import POLICIES
from workbench.engine.sequence import Sequence
from workbench.events import EventLog, TokenSampled
from workbench.types import HiddenRows, TokenOut

Propose = Callable[[Sequence], tuple[int, ...]]
"""Returns tokens that may come next in a decoding sequence: any number, any tokens. Reads only."""


NO_RESULT, UNKNOWN = SeqResult(), Sampled(-1)


class Outcome(Struct, frozen=True):
    """The effect of a commit on one sequence."""

    seq: Sequence
    num_kept: int
    """New tokens whose K/V stands: all but rejected drafts."""
    out: TokenOut | None
    """The output to send; with its `finish` the request has come to its end."""


class Scheduler:
    def __init__(
        self, config: CoreConfig, cache: PrefixCache, log: EventLog, clock: Callable[[], float], propose: Propose | None = None
    ) -> None:
        self.config = config
        self.cache = cache
        self.log = log
        self.clock = clock
        self.batch = Batch(cache, Promise(config.schedule_conservativeness), log, clock)
        policy, rng = POLICIES[config.schedule_policy], random.Random(config.random_seed)
        self.admission = Admission(config, cache, self.batch, policy, log, clock, rng)
        self.budget_left = 0
        """Prefill tokens that the last step could still have taken."""
        self.detail = False
        """Whether steps are planned with token detail."""
        self._planner = Planner(config.eos_ids)
        self._propose = propose
        self.num_steps = 0

    @property
    def running(self) -> list[Sequence]:
        return self.batch.running

    @property
    def waiting(self) -> list[Sequence]:
        return self.admission.waiting

    @property
    def compiling(self) -> list[Sequence]:
        return self.admission.compiling

    @property
    def has_drafts(self) -> bool:
        """True if decode steps may have drafts."""
        return self._propose is not None

    @property
    def new_token_ratio(self) -> float:
        return self.batch.promise.ratio

    @property
    def num_retractions(self) -> int:
        return self.batch.num_retractions

    # -- plan ---------------------------------------------------------------------------------------------------

    def plan(self) -> StepPlan:
        """Changes: admits, reserves pages, retracts. Empty `seqs` only if there is nothing to do."""
        self.num_steps += 1
        self._give_room_to_forced()
        is_mixed = self.config.enable_mixed_chunk
        decode = self._plan_decode() if is_mixed else []
        prefill = self._plan_prefill(sum(seq.num_new for seq in decode))
        if not prefill and not is_mixed:
            decode = self._plan_decode()
        self.cache.tell_taken()
        looked_at = frozenset(self.batch.picture_rows()) if self.config.num_picture_rows else frozenset()
        return StepPlan(self.num_steps, (*decode, *prefill), self.cache.page_size, self.detail, looked_at)

    def has_planned(self, step: int) -> None:
        """Changes: `step`, a decode step that was planned ahead, is the last one planned."""
        self.num_steps = step
        self.batch.promise.decay()

    def _give_room_to_forced(self) -> None:
        """Changes: forced stretches that are too long for a decode step get pages, and leave enough for those that decode."""
        if not self.batch.lacking():
            return
        while not self.batch.fits(needing := [*self.batch.decoding(), *self.batch.lacking()]):
            self.admission.put_back(self.batch.retract(needing))
        for seq in self.batch.lacking():
            self.batch.grow(seq, seq.num_tokens)

    def _plan_prefill(self, num_riding: int) -> list[PlannedSeq]:
        budget = max(self.config.prefill_budget - num_riding, 1)
        step = Prefill(self._planner, budget, self.config.prefill_only_one_req)
        for seq in self.batch.running:
            if not seq.is_decoding and step.has_room:
                step.take(seq)
        self.admission.fill(step)
        self.budget_left = step.budget
        return step.seqs

    def _plan_decode(self) -> list[PlannedSeq]:
        """Returns what is pending of every decoding sequence, after retracting until that fits."""
        self.batch.promise.decay()
        while not self.batch.fits(decoding := self.batch.decoding()):
            self.admission.put_back(self.batch.retract(decoding))
        for seq in decoding:
            self.batch.grow(seq, seq.num_tokens)
        return [self._planner.plan(seq, seq.num_pending, self._drafts(seq)) for seq in decoding]

    def _drafts(self, seq: Sequence) -> tuple[int, ...]:
        """Returns drafts that there is room for."""
        if self._propose is None or seq.finish is not None:
            return ()
        drafts = self._propose(seq)[: max(seq.num_left - 1, 0)]
        return drafts if drafts and self.batch.grow_into_free(seq, seq.num_tokens + len(drafts)) else ()

    # -- commit -------------------------------------------------------------------------------------------------

    def commit(self, plan: StepPlan, result: StepResult) -> list[Outcome]:
        """Changes: tokens are appended, K/V is shared at the end of a prompt or chunk. Ending requests is the core's part.

        Sequences that ended or left the batch since they were planned are passed over.
        """
        running = self.batch.by_id()
        parts = zip(plan.seqs, result.seqs, strict=True)
        return [self._commit(running[part.seq_id], part, done) for part, done in parts if part.seq_id in running]

    def begin(self, seq: Sequence) -> TokenOut | None:
        """Changes: a new output begins with what its constraint forces. Returns what can be sent of it."""
        tail = seq.output.begin()
        return None if tail is None else self._apply(seq, tail, seq.num_computed)

    def _commit(self, seq: Sequence, planned: PlannedSeq, done: SeqResult) -> Outcome:
        was_decoding = seq.is_decoding
        is_all_computed = planned.num_tokens >= seq.num_tokens and seq.finish is None
        tail = seq.output.write(done.drawn, seq.output_ids) if done.drawn or is_all_computed else NOTHING
        num_kept = planned.num_new
        if planned.num_drafts:
            num_kept -= planned.num_drafts - max(len(tail.drawn) - 1, 0)
            done = structs.replace(done, hidden=_first_rows(done.hidden, num_kept - (planned.hidden_from or 0)))
        out = self._apply(seq, tail, planned.num_cached + num_kept, done)
        if not was_decoding:
            self.batch.share(seq)
        elif num_kept < planned.num_new:
            self.batch.trim(seq)
        return Outcome(seq, num_kept, out)

    def _apply(self, seq: Sequence, tail: Tail, num_computed: int, done: SeqResult = NO_RESULT) -> TokenOut | None:
        """Changes: the sequence takes the tail; no other place appends to an output. Returns what can be sent."""
        num_scored, num_output = len(done.scored), len(seq.output_ids)
        num_of_prompt = max(0, min(seq.num_prompt - seq.to_score.start, num_scored)) if num_scored else 0
        seq.apply(tail, num_computed, num_scored)
        if self.log.on and tail.token_ids:
            self._log_tokens(seq.rid, tail, num_output)
        if not (tail.token_ids or tail.finish or done.scored or done.hidden):
            return None
        return seq.output.send(
            TokenOut(
                rid=seq.rid, token_ids=tail.token_ids, text=tail.text, forced=tail.forced,
                logprobs=done.scored[num_of_prompt:] + tail.logprobs, prompt_logprobs=done.scored[:num_of_prompt],
                hidden=(done.hidden,) if done.hidden is not None else (), num_cached=seq.num_reused, finish=tail.finish,
            )
        )  # fmt: skip

    def _log_tokens(self, rid: str, tail: Tail, position: int) -> None:
        now, num_own = self.clock(), len(tail.token_ids) - tail.num_forced
        for i, token_id in enumerate(tail.token_ids):
            known = tail.drawn[i] if i < min(len(tail.drawn), num_own) else UNKNOWN
            self.log.add(
                TokenSampled(time=now, rid=rid, token_id=token_id, position=position + i, num_allowed=known.num_allowed,
                             forced=i >= num_own, detail=known.detail)
            )  # fmt: skip

    def retract_all(self) -> None:
        """Changes: the batch is empty, and its sequences are the first in the queue, in their order."""
        for seq in reversed(self.batch.retract_all()):
            self.admission.put_back(seq)

    def vacate(self, seq: Sequence) -> None:
        """Changes: takes a sequence out of the batch or the queue; all it computed goes to the tree."""
        if seq.lease is not None:
            self.batch.leave(seq)
        else:
            self.admission.remove(seq)


def _first_rows(hidden: HiddenRows | None, num_rows: int) -> HiddenRows | None:
    """Returns the first rows; None if there are none."""
    return None if hidden is None or num_rows <= 0 else HiddenRows(hidden.data[: 4 * hidden.width * num_rows], hidden.width)
