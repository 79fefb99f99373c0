"""The running sequences, and the memory that they hold, need and are promised.

Memory is promised, not only used: every running request counts with a share of the output it may still produce. The
share falls while all goes well, and rises when the promise failed and a request had to leave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from workbench.cache.prefix import Lease, PrefixCache
from workbench.engine.sequence import Sequence
from workbench.errors import CacheCorrupt
from workbench.events import EventLog, RequestRetracted

RATIO_START, RATIO_MIN_SHARE, RATIO_DECAY_STEPS = 0.7, 0.14, 600


class Promise:
    """The share of the output still to come that running requests count with (`new_token_ratio`)."""

    def __init__(self, conservativeness: float) -> None:
        self.ratio = min(1.0, RATIO_START * conservativeness)
        self._min = self.ratio * RATIO_MIN_SHARE
        self._decay = (self.ratio - self._min) / RATIO_DECAY_STEPS

    def num_tokens(self, seq: Sequence) -> int:
        """Returns the output tokens that have to find room."""
        return int(self.ratio * seq.num_left)

    def decay(self) -> None:
        """Changes: one decode step went well."""
        self.ratio = max(self.ratio - self._decay, self._min)

    def rise(self, remaining: list[Sequence]) -> None:
        """Changes: a request had to leave. The ratio is at least the share that the remaining ones have used of their output."""
        num_made = sum(len(seq.output_ids) + 20 for seq in remaining)
        num_allowed = sum(seq.request.params.max_new_tokens for seq in remaining)
        self.ratio = max(self.ratio, min(1.0, num_made / max(num_allowed, 1)))


@dataclass
class Batch:
    cache: PrefixCache
    promise: Promise
    log: EventLog
    clock: Callable[[], float]
    running: list[Sequence] = field(default_factory=list)
    num_retractions: int = 0

    def by_id(self) -> dict[int, Sequence]:
        """Returns the running sequences by id."""
        return {seq.seq_id: seq for seq in self.running}

    def decoding(self) -> list[Sequence]:
        return [seq for seq in self.running if seq.is_decoding]

    def lacking(self) -> list[Sequence]:
        """Returns the sequences without pages for all their tokens: behind the last one drawn, a long stretch was forced."""
        return [seq for seq in self.running if seq.lease and not seq.is_decoding and seq.lease.num_slots < seq.num_tokens]

    @property
    def num_promised_pages(self) -> int:
        """Pages kept back for output of the running sequences that is still to come."""
        return sum(self.cache.num_pages_for(self.promise.num_tokens(seq)) for seq in self.running)

    def picture_rows(self) -> dict[str, int]:
        """Returns the rows of keys and values of the pictures that running sequences look at, by digest."""
        found: dict[str, int] = {}
        for seq in self.running:
            if seq.request.pictures:
                found |= seq.request.picture_rows
        return found

    # -- entering and leaving -----------------------------------------------------------------------------------

    def enter(self, seq: Sequence, lease: Lease) -> None:
        """Changes: the sequence runs, on the K/V of this lease and on pages for the rest of its tokens."""
        if not self.cache.grow(lease, seq.num_tokens):
            left, num_pending = self.cache.num_available_pages, seq.num_tokens - lease.num_shared
            raise CacheCorrupt(f"{seq.rid} was admitted with {left} pages left for {num_pending} tokens")
        seq.admit(lease, self.clock())
        self.running.append(seq)

    def leave(self, seq: Sequence) -> None:
        """Changes: all that the sequence computed goes to the tree, and its pages are free to be reused."""
        assert seq.lease is not None
        self.share(seq)
        seq.lease.release()
        seq.leave()
        self.running.remove(seq)

    def share(self, seq: Sequence) -> None:
        """Changes: what the sequence computed so far is there for others."""
        assert seq.lease is not None
        self.cache.commit(seq.lease, seq.key[: seq.num_computed])

    # -- memory -------------------------------------------------------------------------------------------------

    def fits(self, seqs: list[Sequence]) -> bool:
        """Returns whether there are pages for all that is pending of these. Reads only."""
        needed = sum(self.cache.num_pages_for(seq.num_tokens - seq.lease.num_slots) for seq in seqs if seq.lease)
        return needed <= self.cache.num_available_pages

    def grow(self, seq: Sequence, num_tokens: int) -> bool:
        """Changes: gives the sequence pages for `num_tokens` tokens. Returns False, with no change, if there are none."""
        assert seq.lease is not None
        return self.cache.grow(seq.lease, num_tokens)

    def grow_into_free(self, seq: Sequence, num_tokens: int) -> bool:
        """Changes: as `grow`, but evicts nothing: drafts may turn out wrong."""
        assert seq.lease is not None
        missing = self.cache.num_pages_for(num_tokens - seq.lease.num_slots)
        return missing <= self.cache.num_free_pages and self.cache.grow(seq.lease, num_tokens)

    def trim(self, seq: Sequence) -> None:
        """Changes: pages behind the computed tokens go back to the pool."""
        assert seq.lease is not None
        self.cache.trim(seq.lease, seq.num_computed)

    def retract(self, needing: list[Sequence]) -> Sequence:
        """Changes: of the lowest priority the sequence with the least output leaves, of equals the longest. Its K/V stays in
        the tree for as long as the space is not needed. Returns it, to be put back into the queue.

        `needing` are the sequences for whose pending tokens there are too few pages.
        """
        victims = [seq for seq in self.running if len(needing) > 1 or seq is not needing[0]]
        if not victims:
            raise CacheCorrupt("one request needs more pages than the pool has, which `add` refuses")
        victim = min(victims, key=lambda seq: (seq.request.priority, len(seq.output_ids), -seq.num_prompt, -seq.seq_id))
        needed_by = next(seq.rid for seq in needing if seq is not victim)
        old_ratio, num_lost = self.promise.ratio, victim.num_computed
        self.leave(victim)
        self.promise.rise(self.decoding())
        self._count_retraction(victim, num_lost, needed_by, old_ratio)
        return victim

    def retract_all(self) -> list[Sequence]:
        """Changes: all sequences leave. Returns them in their order, to be put back into the queue."""
        left = [*self.running]
        for seq in left:
            num_lost = seq.num_computed
            self.leave(seq)
            self._count_retraction(seq, num_lost, "", self.promise.ratio)
        return left

    def _count_retraction(self, seq: Sequence, num_lost: int, needed_by: str, old_ratio: float) -> None:
        self.num_retractions += 1
        if self.log.on:
            self.log.add(
                RequestRetracted(time=self.clock(), rid=seq.rid, num_output=len(seq.output_ids), num_lost=num_lost,
                                 needed_by=needed_by, old_ratio=old_ratio, new_ratio=self.promise.ratio)
            )  # fmt: skip
