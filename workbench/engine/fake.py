"""A runner without weights: the next token is a hash of all tokens before it, *as read back from the KV slots*.

So it notices what a real model would notice, a wrong page, position or prefix, and costs microseconds. Time is a cost
model on a virtual clock. It drives property tests, simulations and lessons.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from workbench.engine.plan import NOTHING_ALLOWED, PlannedSeq, Sampled, SampleRow, SeqResult, StepPlan, StepResult, accepted
from workbench.errors import CacheCorrupt
from workbench.grammar.mask import allowed_flags
from workbench.types import HiddenRows, TokenLogprob, slots_of_pages

EMPTY = 0xCBF29CE484222325
"""The state before the first token."""


@dataclass
class VirtualClock:
    """Seconds that pass only when `now` is set."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def next_token(token_ids: Iterable[int], vocab_size: int) -> int:
    """Returns the fake model's next token, a function of the whole prefix (FNV-1a over the ids)."""
    state = EMPTY
    for token in token_ids:
        state = _behind(state, token)
    return _drawn(state, vocab_size)


def _behind(state: int, token: int) -> int:
    return ((state ^ (token + 1)) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF


def _drawn(state: int, vocab_size: int) -> int:
    return (state >> 17) % vocab_size


@dataclass(slots=True)
class _Read:
    """The tokens read back from one segment's pages, up to position `end`. Valid until one of its slots is written again."""

    before: int
    """The state in front of it."""
    start: int
    end: int
    state: int
    pages: tuple[int, ...] = ()
    is_outdated: bool = False


class FakeRunner:
    """Step time: `base_s` + `per_token_s` for each new token + `per_context_s` for each token attended to."""

    def __init__(
        self, vocab_size: int = 256, *, clock: VirtualClock | None = None, base_s: float = 0.01,
        per_token_s: float = 0.0003, per_context_s: float = 1e-7,
    ) -> None:  # fmt: skip
        self.vocab_size = vocab_size
        self.clock = clock
        self.cost = (base_s, per_token_s, per_context_s)
        self.slots: dict[int, tuple[int, int]] = {}
        """slot -> (token id, position) last written there."""
        self.num_computed = 0
        """Tokens computed since the start."""
        self._reads: dict[int, _Read] = {}
        """By first page of a segment."""
        self._read_of: dict[int, _Read] = {}
        """slot -> what it was last read for."""

    def execute(self, plan: StepPlan) -> StepResult:
        for seq in plan.seqs:
            self._write(seq, plan.page_size)
        done = tuple(self._compute(seq, plan.page_size) for seq in plan.seqs)
        self.num_computed += plan.num_new
        if self.clock is not None:
            base_s, per_token_s, per_context_s = self.cost
            self.clock.now += base_s + per_token_s * plan.num_new + per_context_s * sum(seq.num_tokens for seq in plan.seqs)
        return StepResult(done)

    def _compute(self, seq: PlannedSeq, page_size: int) -> SeqResult:
        state = self._read_back(seq, page_size)
        drawn = tuple(self.sample(seq.rid, row, state) for row in seq.rows) if len(seq.rows) < 2 else self._verify(seq, state)
        if not seq.score_ids and seq.hidden_from is None:
            return SeqResult(drawn)
        scored = tuple(TokenLogprob(token, -1.0) for token in seq.score_ids)
        return SeqResult(drawn, scored, self._hidden(seq, page_size) if seq.hidden_from is not None else None)

    def _verify(self, seq: PlannedSeq, state: int) -> tuple[Sampled, ...]:
        """Returns the accepted draws; `state` is the one before the drafts."""
        drawn = [self.sample(seq.rid, seq.rows[0], state)]
        for draft, row in zip(seq.token_ids[-seq.num_drafts :], seq.rows[1:], strict=True):
            state = _behind(state, draft)
            drawn.append(self.sample(seq.rid, row, state))
        return accepted(seq, tuple(drawn))

    def _write(self, seq: PlannedSeq, page_size: int) -> None:
        start, seen = 0, _seen(seq) if seq.pictures else {}
        for segment in seq.segments:
            end = start + len(segment.pages) * page_size
            for position in range(max(start, seq.num_cached), min(end, seq.num_tokens)):
                slot = _slot(segment.pages, position - start, page_size)
                self.slots[slot] = (seen.get(position, seq.token_ids[position - seq.num_cached]), position)
                if (read := self._read_of.pop(slot, None)) is not None:
                    read.is_outdated = True
            start = end

    def _read_back(self, seq: PlannedSeq, page_size: int) -> int:
        """Returns the state behind the last token that is no draft. What was read before and not written since is not read
        again; a draft that is accepted is read in the next step."""
        state, start, num_tokens = EMPTY, 0, seq.num_tokens - seq.num_drafts
        for segment in seq.segments:
            end = min(start + len(segment.pages) * page_size, num_tokens)
            if end > start:
                state = self._read(seq.rid, segment.pages, state, start, end, page_size)
                start = end
        if start < num_tokens:
            raise CacheCorrupt(f"{seq.rid}: pages for {start} tokens, {num_tokens} were planned")
        return state

    def _read(self, rid: str, pages: tuple[int, ...], before: int, start: int, end: int, page_size: int) -> int:
        read = self._reads.get(pages[0])
        if read is None or read.is_outdated or (read.before, read.start) != (before, start) or not _goes_on(read, pages, end):
            read = self._reads[pages[0]] = _Read(before, start, start, before)
        for position in range(read.end, end):
            slot = _slot(pages, position - start, page_size)
            token, written_for = self.slots.get(slot, (-1, -1))
            if written_for != position:
                raise CacheCorrupt(f"{rid}: slot {slot} holds position {written_for}, position {position} was expected")
            read.state = _behind(read.state, token)
            if (other := self._read_of.get(slot)) is not None and other is not read:
                other.is_outdated = True
            self._read_of[slot] = read
        read.end, read.pages = end, pages
        return read.state

    def _hidden(self, seq: PlannedSeq, page_size: int) -> HiddenRows:
        """Returns token id and position of each, as the slots have them."""
        slots = slots_of_pages([page for segment in seq.segments for page in segment.pages], page_size)
        rows = [self.slots[slot] for slot in slots[seq.num_cached + (seq.hidden_from or 0) : seq.num_tokens]]
        return HiddenRows(np.array(rows, dtype=np.float32).tobytes(), 2)

    def sample(self, rid: str, row: SampleRow, state: int) -> Sampled:
        """Returns the token of one row, behind the tokens that `state` stands for."""
        token, num_allowed = _drawn(state, self.vocab_size), None
        if row.matcher is not None or row.suppress:
            unlimited = np.ones(self.vocab_size, dtype=bool)
            allowed = unlimited if row.matcher is None else allowed_flags(row.matcher, self.vocab_size)
            num_allowed = int(allowed.sum()) if row.matcher is not None else None
            allowed[list(row.suppress)] = False
            if not allowed.any():
                return Sampled(NOTHING_ALLOWED, error=row.why_nothing)
            while not allowed[token]:
                token = (token + 1) % self.vocab_size
        logprob = TokenLogprob(token, -1.0) if row.return_logprob else None
        return Sampled(token, logprob, num_allowed, logprob_of=lambda _: -1.0)


def _seen(seq: PlannedSeq) -> dict[int, int]:
    """Returns what stands at the positions of pictures: numbers made of the picture's digest and the vector's number."""
    return {
        place: int(picture.digest[:12], 16) + number
        for picture in seq.pictures
        for place, number in zip(*picture.rows(seq.num_cached, seq.num_tokens), strict=True)
    }


def _goes_on(read: _Read, pages: tuple[int, ...], end: int) -> bool:
    """Returns whether these pages begin with those that were read."""
    return read.end <= end and (read.pages is pages or read.pages == pages[: len(read.pages)])


def _slot(pages: tuple[int, ...], offset: int, page_size: int) -> int:
    return pages[offset // page_size] * page_size + offset % page_size
