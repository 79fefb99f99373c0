"""A runner without weights: the next token is a hash of all tokens before it, *as read back from the KV slots*.

So it notices what a real model would notice, a wrong page, position or prefix, and costs microseconds. Time is a cost
model on a virtual clock. It drives property tests, simulations and lessons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.engine.plan import NOTHING_ALLOWED, PlannedSeq, Sampled, StepPlan, StepResult
from workbench.errors import CacheCorrupt
from workbench.types import TokenLogprob


@dataclass
class VirtualClock:
    """Seconds that pass only when somebody says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def next_token(token_ids: tuple[int, ...], vocab_size: int) -> int:
    """The fake model: a function of the whole prefix (FNV-1a over the ids)."""
    state = 0xCBF29CE484222325
    for token in token_ids:
        state = ((state ^ (token + 1)) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return (state >> 17) % vocab_size


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

    def execute(self, plan: StepPlan) -> StepResult:
        sampled, scored = [], {}
        for seq in plan.seqs:
            slots = slots_of(seq, plan.page_size)
            for i, token in enumerate(seq.token_ids):
                position = seq.num_cached + i
                self.slots[slots[position]] = (token, position)
        for seq in plan.seqs:
            prefix = self._read_back(seq, slots_of(seq, plan.page_size))
            if seq.score_ids:
                scored[seq.seq_id] = tuple(TokenLogprob(token, -1.0) for token in seq.score_ids)
            if seq.sample is not None:
                allowed = allowed_by(seq.sample.matcher, self.vocab_size)
                allowed[list(seq.sample.suppress)] = False
                if not allowed.any():
                    sampled.append(Sampled(NOTHING_ALLOWED, error=seq.sample.why_nothing))
                    continue
                token = next_token(prefix, self.vocab_size)
                while not allowed[token]:
                    token = (token + 1) % self.vocab_size
                logprob = TokenLogprob(token, -1.0) if seq.sample.return_logprob else None
                num_allowed = int(allowed.sum()) if seq.sample.matcher is not None else None
                sampled.append(Sampled(token, logprob, num_allowed, logprob_of=lambda _: -1.0))
        self.num_computed += plan.num_new
        if self.clock is not None:
            base_s, per_token_s, per_context_s = self.cost
            self.clock.now += base_s + per_token_s * plan.num_new + per_context_s * sum(seq.num_tokens for seq in plan.seqs)
        return StepResult(tuple(sampled), scored)

    def _read_back(self, seq: PlannedSeq, slots: list[int]) -> tuple[int, ...]:
        tokens = []
        for position in range(seq.num_tokens):
            token, written_for = self.slots.get(slots[position], (-1, -1))
            if written_for != position:
                raise CacheCorrupt(
                    f"{seq.rid}: slot {slots[position]} holds position {written_for}, position {position} was expected"
                )
            tokens.append(token)
        return tuple(tokens)


def allowed_by(matcher: Any, vocab_size: int) -> np.ndarray:
    """One flag per token: what the grammar takes next, everything without one."""
    if matcher is None:
        return np.ones(vocab_size, dtype=bool)
    mask = np.zeros(-(-vocab_size // 32), dtype=np.int32)
    matcher.fill_mask(mask)
    return np.unpackbits(mask.view(np.uint8), bitorder="little")[:vocab_size].astype(bool)


def slots_of(seq: PlannedSeq, page_size: int) -> list[int]:
    """KV slots of all tokens of a planned sequence, in order (the last page may have room to spare)."""
    return [page * page_size + offset for segment in seq.segments for page in segment.pages for offset in range(page_size)]
