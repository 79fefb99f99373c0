"""Who computes what in the next step. `plan` decides and reserves, `commit` applies; no arithmetic happens here.

Rules, in order:
1. A step is a prefill step when some sequence has more than its next token pending, else a decode step.
   With `enable_mixed_chunk` decode tokens ride along in prefill steps. A short stretch that a grammar forced rides
   along in decode steps, so that jumping holds up nobody.
2. Sequences in the middle of their prompt go on first, then waiting requests in policy order, until the token
   budget, the batch or the memory is used up. Each refusal has a reason, and the reason is an event.
3. Memory is promised, not only used: every admitted request counts with `new_token_ratio` of the output it may
   still produce. The ratio falls while all goes well and rises when a promise fails.
4. When decode runs out of pages, the request with the least output goes back to the queue; what it had computed
   stays in the tree for as long as nobody needs the space.
5. A request whose prompt shares more with a prompt now being computed than with the tree waits for that one.
6. A request whose constraint is being compiled stands beside the queue, and joins it when the constraint is there.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from workbench.cache.prefix import PrefixCache
from workbench.cache.radix import common_prefix
from workbench.engine.limits import CoreConfig
from workbench.engine.plan import PlannedSeq, Sampled, SampleRow, StepPlan, StepResult
from workbench.engine.policy import Candidate, Policy
from workbench.engine.sequence import Outcome, Sequence
from workbench.engine.waiting import Wait
from workbench.errors import CacheCorrupt
from workbench.events import (
    NUM_SHOWN,
    EventLog,
    PrefixMatched,
    RequestRetracted,
    RequestScheduled,
    RequestWaited,
    RequestWaiting,
    WaitReason,
)

MIN_SHARED = 16
"""Tokens worth waiting a step for, when another request is about to compute them."""
RATIO_START, RATIO_MIN_SHARE, RATIO_DECAY_STEPS = 0.7, 0.14, 600


@dataclass
class Scheduler:
    config: CoreConfig
    cache: PrefixCache
    policy: Policy
    log: EventLog
    clock: Callable[[], float]
    rng: random.Random
    waiting: list[Sequence] = field(default_factory=list)
    running: list[Sequence] = field(default_factory=list)
    compiling: list[Sequence] = field(default_factory=list)
    """Requests without the matcher they need."""
    budget_left: int = 0
    num_retractions: int = 0
    detail: bool = False
    """Whether steps are planned with token detail."""
    is_paused: bool = False
    """Whether no step may be planned."""

    def __post_init__(self) -> None:
        self.ratio = min(1.0, RATIO_START * self.config.schedule_conservativeness)
        self._ratio_min = self.ratio * RATIO_MIN_SHARE
        self._ratio_step = (self.ratio - self._ratio_min) / RATIO_DECAY_STEPS
        self._step = 0
        self._candidates: dict[int, Candidate] = {}
        """By sequence, with what they found out about the tree."""

    def enqueue(self, seq: Sequence, *, is_compiling: bool = False) -> None:
        """Changes: a new request waits, for its constraint or for a place."""
        if is_compiling:
            self.compiling.append(seq)
            self._refuse(seq, "compiling")
        else:
            self._queue(seq)

    def compiled(self, seq: Sequence) -> None:
        """Changes: its constraint is there, so it waits for a place."""
        self.compiling.remove(seq)
        self._queue(seq)

    def pause(self) -> None:
        """Changes: no step is planned until `is_paused` is False again; requests that wait are told the reason."""
        self.is_paused = True
        for seq in self.waiting:
            self._refuse(seq, "paused")

    def _queue(self, seq: Sequence) -> None:
        self.waiting.append(seq)
        if self.is_paused:
            self._refuse(seq, "paused")

    # -- plan ---------------------------------------------------------------------------------------------------

    def plan(self) -> StepPlan:
        """Changes: admits, reserves pages, retracts. Empty `seqs` only when there is nothing to do."""
        self._step += 1
        decode = self._plan_decode() if self.config.enable_mixed_chunk else []
        prefill = self._plan_prefill()
        if not prefill and not self.config.enable_mixed_chunk:
            decode = self._plan_decode()
        self.cache.tell_taken()
        return StepPlan(self._step, (*decode, *prefill), self.cache.page_size, self.detail)

    def _plan_prefill(self) -> list[PlannedSeq]:
        num_riding = sum(seq.num_pending for seq in self.running if seq.is_decoding) if self.config.enable_mixed_chunk else 0
        self.budget_left = max(self.config.prefill_budget - num_riding, 1)
        planned: list[PlannedSeq] = []
        for seq in self.running:
            if not seq.is_decoding and self._has_room(planned):
                self._take(seq, planned)
        candidates = iter(self._ordered())
        for candidate in candidates:
            if not self._offer(candidate, planned):
                for behind in candidates:
                    self._refuse(behind.seq, "memory", blocked_by=candidate.seq.rid)
        return planned

    def _ordered(self) -> list[Candidate]:
        """The queue in policy order."""
        if not self.waiting or len(self.running) >= self.config.max_running_requests:
            for seq in self.waiting:
                self._refuse(seq, "batch full", needed=len(self.running) + 1, available=self.config.max_running_requests)
            return []
        known = self._candidates
        self._candidates = {seq.seq_id: known.get(seq.seq_id) or Candidate(seq, self.cache) for seq in self.waiting}
        return sorted(self.policy([*self._candidates.values()], self.rng), key=lambda c: -c.seq.request.priority)

    def _has_room(self, planned: list[PlannedSeq]) -> bool:
        return self.budget_left > 0 and not (self.config.prefill_only_one_req and planned)

    def _offer(self, candidate: Candidate, planned: list[PlannedSeq]) -> bool:
        """Admits the candidate into this step, or says why not. False: nobody behind it may pass it either."""
        seq = candidate.seq
        if len(self.running) >= self.config.max_running_requests:
            self._refuse(seq, "batch full", needed=len(self.running) + 1, available=self.config.max_running_requests)
        elif self.budget_left <= 0:
            self._refuse(seq, "token budget", blocked_by=planned[0].rid if planned else "")
        elif self.config.prefill_only_one_req and planned:
            self._refuse(seq, "one prefill at a time", blocked_by=planned[0].rid)
        elif (other := self._computing_same_prefix(candidate)) is not None:
            self._refuse(seq, "shared prefix in progress", blocked_by=other.rid)
        else:
            needed = self._pages(seq.num_tokens - candidate.num_cached) + self._promised(seq)
            available = self.cache.num_available_pages - sum(map(self._promised, self.running)) - self._pinning(candidate)
            if self.running and needed > available:
                self._refuse(seq, "memory", blocked_by=self.running[0].rid, needed=needed, available=max(available, 0))
                return False
            self._admit(candidate)
            self._take(seq, planned)
        return True

    def _refuse(self, seq: Sequence, reason: WaitReason, *, blocked_by: str = "", needed: int = 0, available: int = 0) -> None:
        if not self.log.on:
            return
        now = self.clock()
        seq.wait = seq.wait or Wait(now)
        if seq.wait.turn_to(reason, blocked_by, now):
            self.log.add(
                RequestWaiting(time=now, rid=seq.rid, reason=reason, blocked_by=blocked_by,
                               num_needed=needed, num_available=available)
            )  # fmt: skip

    def _end_wait(self, seq: Sequence) -> None:
        if seq.wait is not None:
            now = self.clock()
            self.log.add(RequestWaited(time=now, rid=seq.rid, parts=seq.wait.parts(now)))
            seq.wait = None

    def _admit(self, candidate: Candidate) -> None:
        """Changes: leaves the queue with a lease on all that the cache has of it, and pages for the rest."""
        seq, match = candidate.seq, candidate.match
        request = seq.request
        self._end_wait(seq)
        if self.log.on and not seq.was_admitted:
            lookup = self.cache.explain(seq.token_ids, request.namespace, seq.reuse_limit, match)
            asked = seq.token_ids[lookup.num_cached :][:NUM_SHOWN] if lookup.reason in ("diverged", "evicted") else ()
            self.log.add(
                PrefixMatched(time=self.clock(), rid=seq.rid, num_prompt=seq.num_prompt,
                              num_cached=min(lookup.num_cached, seq.num_prompt),
                              reason=lookup.reason, node_id=lookup.node_id, expected=lookup.expected, asked=asked,
                              evicted_ago=lookup.evicted_ago, elsewhere=lookup.elsewhere, namespace=request.namespace)
            )  # fmt: skip
        seq.lease = self.cache.lease(match, seq.rid)
        seq.num_computed = seq.lease.num_shared
        if not self.cache.grow(seq.lease, seq.num_tokens):
            raise CacheCorrupt(
                f"{seq.rid} was admitted with {self.cache.num_available_pages} pages left for {seq.num_pending} tokens"
            )
        seq.admitted_at = self.clock()
        if self.log.on:
            self.log.add(
                RequestScheduled(time=seq.admitted_at, rid=seq.rid, num_cached=seq.num_computed, num_pending=seq.num_pending,
                                 resumed=seq.was_admitted)
            )  # fmt: skip
        if not seq.was_admitted:
            seq.num_reused = min(seq.num_computed, seq.num_prompt)  # and not what its constraint forced behind it
        seq.was_admitted = True
        self.waiting.remove(seq)
        del self._candidates[seq.seq_id]
        self.running.append(seq)

    def _take(self, seq: Sequence, planned: list[PlannedSeq]) -> None:
        num_new = min(seq.num_pending, self.budget_left)
        self.budget_left -= num_new
        planned.append(self._planned(seq, num_new))

    def _computing_same_prefix(self, candidate: Candidate) -> Sequence | None:
        """The sequence in the middle of its prompt that will make the most of this one's prefix, if that is worth a wait."""
        if self.cache.disabled:
            return None
        seq, page = candidate.seq, self.cache.page_size
        tokens = seq.token_ids[: seq.reuse_limit]
        best, most = None, candidate.num_cached + MIN_SHARED - 1
        for other in self.running:
            if not other.is_decoding and other.request.namespace == seq.request.namespace:
                same = common_prefix(tokens, other.request.input_ids)
                same -= same % page
                if same > most:
                    best, most = other, same
        return best

    def _plan_decode(self) -> list[PlannedSeq]:
        """What is pending of every decoding sequence, retracting until that fits."""
        self.ratio = max(self.ratio - self._ratio_step, self._ratio_min)
        while True:
            decoding = [seq for seq in self.running if seq.is_decoding]
            needed = sum(self._pages(seq.num_tokens - seq.lease.num_slots) for seq in decoding if seq.lease)
            if needed <= self.cache.num_available_pages:
                break
            self._retract(decoding)
        for seq in decoding:
            assert seq.lease is not None
            self.cache.grow(seq.lease, seq.num_tokens)
        return [self._planned(seq, seq.num_pending) for seq in decoding]

    def _retract(self, decoding: list[Sequence]) -> None:
        """Changes: the request with the least output (the longest of equals) goes back to the queue, its K/V to the tree."""
        victims = [seq for seq in self.running if len(decoding) > 1 or not seq.is_decoding]
        if not victims:
            raise CacheCorrupt("one request needs more pages than the pool has, which `add` refuses")
        victim = min(victims, key=lambda seq: (len(seq.output_ids), -seq.num_prompt, -seq.seq_id))
        needed_by = next(seq.rid for seq in decoding if seq is not victim)
        old, num_lost = self.ratio, victim.num_computed
        self.vacate(victim)
        self.waiting.insert(0, victim)
        self.num_retractions += 1
        rest = [seq for seq in self.running if seq.is_decoding]
        made = sum(len(seq.output_ids) + 20 for seq in rest)
        allowed = sum(seq.request.params.max_new_tokens for seq in rest)
        self.ratio = max(old, min(1.0, made / max(allowed, 1)))
        if self.log.on:
            self.log.add(
                RequestRetracted(time=self.clock(), rid=victim.rid, num_output=len(victim.output_ids), num_lost=num_lost,
                                 needed_by=needed_by, old_ratio=old, new_ratio=self.ratio)
            )  # fmt: skip

    def _planned(self, seq: Sequence, num_new: int) -> PlannedSeq:
        assert seq.lease is not None
        request, is_last = seq.request, num_new == seq.num_pending
        score_from, score_ids = seq.score_span(num_new)
        ids, start = (seq.output_ids, seq.num_computed - seq.num_prompt) if seq.is_decoding else (seq.token_ids, seq.num_computed)
        has_ended = seq.num_left <= 0 or (seq.held is not None and seq.held.finish is not None)
        return PlannedSeq(
            seq_id=seq.seq_id, rid=seq.rid, token_ids=tuple(ids[start : start + num_new]), num_cached=seq.num_computed,
            segments=seq.lease.segments(),
            sample=self._sample_row(seq) if is_last and not has_ended else None,
            score_from=score_from, score_ids=score_ids,
            top_logprobs_num=request.top_logprobs_num, token_ids_logprob=request.token_ids_logprob,
            hidden_from=seq.hidden_from(num_new),
        )  # fmt: skip

    def _sample_row(self, seq: Sequence) -> SampleRow:
        request, params = seq.request, seq.request.params
        too_short = len(seq.output_ids) < params.min_new_tokens
        needs_history = params.has_penalties or seq.processor is not None
        return SampleRow(
            params=params, seed=request.seed, position=len(seq.output_ids),
            suppress=(*self.config.eos_ids, *params.stop_token_ids) if too_short else (),
            prompt_ids=request.input_ids if needs_history else (), output_ids=tuple(seq.output_ids) if needs_history else (),
            matcher=seq.matcher, processor=seq.processor, return_logprob=request.return_logprob,
            top_logprobs_num=request.top_logprobs_num, token_ids_logprob=request.token_ids_logprob,
        )  # fmt: skip

    # -- memory -------------------------------------------------------------------------------------------------

    def _pages(self, num_tokens: int) -> int:
        return -(-num_tokens // self.cache.page_size) if num_tokens > 0 else 0

    def _promised(self, seq: Sequence) -> int:
        """Pages kept back for output that is still to come."""
        return self._pages(int(self.ratio * seq.num_left))

    def _pinning(self, candidate: Candidate) -> int:
        """Pages that can be evicted now and no longer once this candidate's prefix is pinned."""
        if not candidate.num_cached:
            return 0
        hit = candidate.match
        unpinned, node = 0, hit.node
        while node.parent is not None and node.num_pins == 0:
            unpinned += hit.num_in_node if node is hit.node else len(node.token_ids)
            node = node.parent
        return self._pages(unpinned)

    # -- commit -------------------------------------------------------------------------------------------------

    def commit(self, plan: StepPlan, result: StepResult) -> list[Outcome]:
        """Changes: tokens appended, K/V shared at the end of a prompt or chunk. Finishing is the core's decision."""
        by_id = {seq.seq_id: seq for seq in self.running}
        sampled = iter(result.sampled)
        outcomes = []
        for planned in plan.seqs:
            seq = by_id[planned.seq_id]
            was_decoding = seq.is_decoding
            seq.num_computed += planned.num_new
            hidden = (result.hidden[planned.seq_id],) if planned.seq_id in result.hidden else ()
            seq.num_shown = max(seq.num_shown, seq.num_computed)
            scored = result.scored.get(planned.seq_id, ())
            num_of_prompt = max(0, min(seq.num_prompt - seq.to_score.start, len(scored)))
            seq.to_score = seq.to_score[len(scored) :]
            draw = next(sampled) if planned.sample is not None else None
            if not was_decoding:
                assert seq.lease is not None
                self.cache.commit(seq.lease, seq.token_ids[: seq.num_computed])
            token_id = draw.token_id if draw is not None and draw.token_id >= 0 else None
            if token_id is not None:
                seq.output_ids.append(token_id)
            if draw is not None or scored or hidden or seq.num_left == 0:
                drawn = draw or Sampled(-1)
                outcomes.append(Outcome(seq, token_id, scored[:num_of_prompt], drawn, scored[num_of_prompt:], hidden))
        return outcomes

    def vacate(self, seq: Sequence) -> None:
        """Changes: takes a sequence out of the batch; all it computed goes to the tree, its pages are free to be reused."""
        if seq.lease is not None:
            self.cache.commit(seq.lease, seq.token_ids[: seq.num_computed])
            seq.lease.release()
            seq.lease = None
        seq.num_computed = 0
        if seq in self.running:
            self.running.remove(seq)
        else:
            self._end_wait(seq)
            (self.compiling if seq in self.compiling else self.waiting).remove(seq)
