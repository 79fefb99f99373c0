"""The queue: the order in which waiting requests enter the batch, and the reasons why others wait.

Requests are offered a place in policy order until the token budget, the batch or the memory is used up. Each refusal has
a reason, and the reason is an event. A request whose prompt shares more with a prompt that is being computed than with
the tree waits for that one. A request whose constraint is being compiled stands beside the queue until it is there.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from workbench.cache.prefix import PrefixCache
from workbench.common_prefix import num_common
from workbench.engine.batch import Batch
from workbench.engine.limits import CoreConfig
from workbench.engine.planning import Prefill
from workbench.engine.policy import Candidate, Policy
from workbench.engine.refusals import Refusals
from workbench.engine.sequence import Sequence
from workbench.events import NUM_SHOWN, EventLog, PrefixMatched, RequestScheduled
from workbench.types import first_of

MIN_SHARED = 16
"""Tokens worth waiting a step for, when another request is about to compute them."""


@dataclass
class Admission:
    config: CoreConfig
    cache: PrefixCache
    batch: Batch
    policy: Policy
    log: EventLog
    clock: Callable[[], float]
    rng: random.Random
    waiting: list[Sequence] = field(default_factory=list)
    compiling: list[Sequence] = field(default_factory=list)
    """Requests without the matcher they need."""
    is_paused: bool = False
    """True while generation is paused: requests wait, and no step is planned."""

    def __post_init__(self) -> None:
        self._candidates: dict[int, Candidate] = {}
        """Waiting requests by sequence id, with their match in the tree."""
        self.refusals = Refusals(self.log, self.clock)
        self._are_all_told_full = False
        """Whether all waiting requests were refused because the batch is full, so that nothing changes until one arrives."""
        self._waits_for_pictures = False
        """True once a request of the step being filled found no room for its pictures: later ones do not overtake it."""

    # -- the queue ----------------------------------------------------------------------------------------------

    def enqueue(self, seq: Sequence, *, is_compiling: bool = False) -> None:
        """Changes: a new request waits, for its constraint or for a place."""
        if is_compiling:
            self.compiling.append(seq)
            self.refusals.add(seq, "compiling")
        else:
            self._queue(seq)

    def compiled(self, seq: Sequence) -> None:
        """Changes: its constraint is there, so the request waits for a place."""
        self.compiling.remove(seq)
        self._queue(seq)

    def pause(self) -> None:
        """Changes: pauses generation until `is_paused` is False again."""
        self.is_paused = True
        self._are_all_told_full = False
        for seq in self.waiting:
            self.refusals.add(seq, "paused")

    def _queue(self, seq: Sequence) -> None:
        self.waiting.append(seq)
        self._are_all_told_full = False
        if self.is_paused:
            self.refusals.add(seq, "paused")

    def put_back(self, seq: Sequence) -> None:
        """Changes: a request that had to leave the batch is the first to return."""
        self.waiting.insert(0, seq)
        self._are_all_told_full = False
        if self.is_paused:
            self.refusals.add(seq, "paused")

    def remove(self, seq: Sequence) -> None:
        """Changes: the request has ended."""
        self.refusals.end(seq)
        self._candidates.pop(seq.seq_id, None)
        (self.compiling if seq in self.compiling else self.waiting).remove(seq)

    # -- places -------------------------------------------------------------------------------------------------

    def fill(self, step: Prefill) -> None:
        """Changes: offers all waiting requests a place in the step, in policy order."""
        self._waits_for_pictures = False
        candidates = iter(self._ordered())
        for candidate in candidates:
            if not self._offer(candidate, step):
                for behind in candidates:
                    self.refusals.add(behind.seq, "memory", blocked_by=candidate.seq.rid)

    def _ordered(self) -> list[Candidate]:
        """Returns the queue in policy order; nothing if the batch is full."""
        if not self.waiting:
            return []
        if self._is_batch_full():
            if not self._are_all_told_full:
                for seq in self.waiting:
                    self._refuse_batch_full(seq)
                self._are_all_told_full = True
            return []
        self._are_all_told_full = False
        known = self._candidates
        self._candidates = {seq.seq_id: known.get(seq.seq_id) or Candidate(seq, self.cache) for seq in self.waiting}
        return sorted(self.policy([*self._candidates.values()], self.rng), key=lambda c: -c.seq.request.priority)

    def _offer(self, candidate: Candidate, step: Prefill) -> bool:
        """Admits the candidate into the step, or records why not. Returns False if the requests behind it must wait too."""
        seq = candidate.seq
        if self._is_batch_full():
            self._refuse_batch_full(seq)
        elif step.budget <= 0:
            self.refusals.add(seq, "token budget", blocked_by=step.seqs[0].rid if step.seqs else "")
        elif not step.has_room:
            self.refusals.add(seq, "one prefill at a time", blocked_by=step.seqs[0].rid)
        elif (other := self._computing_same_prefix(candidate)) is not None:
            self.refusals.add(seq, "shared prefix in progress", blocked_by=other.rid)
        elif (lack := self._lack_of_rows(seq)) is not None:
            needed, available = lack
            self._waits_for_pictures = True
            self.refusals.add(seq, "picture memory", blocked_by=self.batch.running[0].rid, needed=needed, available=available)
        elif (lack := self._lack_of_memory(candidate)) is not None:
            needed, available = lack
            self.refusals.add(seq, "memory", blocked_by=self.batch.running[0].rid, needed=needed, available=available)
            return False
        else:
            self._admit(candidate)
            step.take(seq)
        return True

    def _lack_of_memory(self, candidate: Candidate) -> tuple[int, int] | None:
        """Returns (pages needed, pages available) if these are too few beside the running sequences; else None."""
        seq, cache = candidate.seq, self.cache
        promised = cache.num_pages_for(self.batch.promise.num_tokens(seq))
        needed = cache.num_pages_for(seq.num_tokens - candidate.num_cached) + promised
        pinned = cache.num_pages_pinned_by(candidate.match)
        available = cache.num_available_pages - self.batch.num_promised_pages - pinned
        return (needed, max(available, 0)) if self.batch.running and needed > available else None

    def _lack_of_rows(self, seq: Sequence) -> tuple[int, int] | None:
        """Returns (rows needed, rows available) if its pictures have more rows than the running ones leave; else None."""
        most = self.config.num_picture_rows
        if not (most and seq.request.pictures and self.batch.running):
            return None
        running = self.batch.picture_rows()
        needed = sum(rows for digest, rows in seq.request.picture_rows.items() if digest not in running)
        available = max(most - sum(running.values()), 0)
        return (needed, available) if needed and (self._waits_for_pictures or needed > available) else None

    def _computing_same_prefix(self, candidate: Candidate) -> Sequence | None:
        """Returns the sequence in the middle of its prompt that will make the most of this one's prefix, if that is worth a
        wait."""
        if self.cache.disabled:
            return None
        seq, page = candidate.seq, self.cache.page_size
        tokens = seq.key[: seq.reuse_limit]
        best, most = None, candidate.num_cached + MIN_SHARED - 1
        for other in self.batch.running:
            if not other.is_decoding and other.request.namespace == seq.request.namespace:
                same = num_common(tokens, other.prompt_key)
                same -= same % page
                if same > most:
                    best, most = other, same
        return best

    def _admit(self, candidate: Candidate) -> None:
        """Changes: the request leaves the queue with a lease on all that the cache has of it, and pages for the rest."""
        seq, is_first = candidate.seq, candidate.seq.admitted_at is None
        self.refusals.end(seq)
        if self.log.on and is_first:
            self._log_match(candidate)
        self.batch.enter(seq, self.cache.lease(candidate.match, seq.rid))
        if self.log.on and seq.admitted_at is not None:
            self.log.add(
                RequestScheduled(time=seq.admitted_at, rid=seq.rid, num_cached=seq.num_computed, num_pending=seq.num_pending,
                                 resumed=not is_first)
            )  # fmt: skip
        self.waiting.remove(seq)
        del self._candidates[seq.seq_id]

    def _log_match(self, candidate: Candidate) -> None:
        seq, namespace = candidate.seq, candidate.seq.request.namespace
        lookup = self.cache.explain(seq.key, namespace, seq.reuse_limit, candidate.match)
        asked = first_of(seq.key[lookup.num_cached :], NUM_SHOWN) if lookup.reason in ("diverged", "evicted") else ()
        self.log.add(
            PrefixMatched(time=self.clock(), rid=seq.rid, num_prompt=seq.num_prompt,
                          num_cached=min(lookup.num_cached, seq.num_prompt),
                          reason=lookup.reason, node_id=lookup.node_id, expected=lookup.expected, asked=asked,
                          evicted_ago=lookup.evicted_ago, elsewhere=lookup.elsewhere, namespace=namespace)
        )  # fmt: skip

    def _is_batch_full(self) -> bool:
        return len(self.batch.running) >= self.config.max_running_requests

    def _refuse_batch_full(self, seq: Sequence) -> None:
        self.refusals.add(seq, "batch full", needed=len(self.batch.running) + 1, available=self.config.max_running_requests)
