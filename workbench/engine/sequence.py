"""One request on its way through the engine. Little is stored; phase, length and progress are derived."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from workbench.cache.prefix import Lease
from workbench.engine.waiting import Wait
from workbench.types import Request, TokenLogprob


class TextOut(Protocol):
    """Turns output ids into text that is certain (`workbench.text.detokenizer.TextStream`)."""

    @property
    def matched(self) -> str | None: ...
    def push(self, token_id: int) -> tuple[str, str | None]: ...
    def finish(self) -> str: ...


@dataclass(slots=True, eq=False)
class Sequence:
    """Prefill, decode, chunks and recompute after retraction are one case: some tokens are pending."""

    seq_id: int
    request: Request
    arrived: float
    text: TextOut | None = None
    matcher: Any = None
    processor: Any = None
    output_ids: list[int] = field(default_factory=list)
    num_computed: int = 0
    num_reused: int = 0
    """Prompt tokens found in the cache at the first admission: `meta_info["cached_tokens"]`."""
    num_scored: int = 0
    """Prompt positions whose log-probability is known."""
    lease: Lease | None = None
    wait: Wait | None = None
    """Its stay in the queue, once it was refused a place and while events are recorded."""
    was_admitted: bool = False

    @property
    def rid(self) -> str:
        return self.request.rid

    @property
    def token_ids(self) -> tuple[int, ...]:
        return (*self.request.input_ids, *self.output_ids) if self.output_ids else self.request.input_ids

    @property
    def num_prompt(self) -> int:
        return len(self.request.input_ids)

    @property
    def num_tokens(self) -> int:
        return self.num_prompt + len(self.output_ids)

    @property
    def num_pending(self) -> int:
        """Tokens without K/V; 1 is a plain decode step once there is output."""
        return self.num_tokens - self.num_computed

    @property
    def is_decoding(self) -> bool:
        return bool(self.output_ids) and self.num_pending == 1

    @property
    def num_left(self) -> int:
        """Output tokens it may still produce."""
        return self.request.params.max_new_tokens - len(self.output_ids)

    @property
    def first_scored(self) -> int:
        """First prompt position that still wants a log-probability; the prompt length when none does."""
        start = self.request.logprob_start_len
        return self.num_prompt if not self.request.return_logprob or start < 0 else max(start, self.num_scored)

    @property
    def reuse_limit(self) -> int:
        """Tokens that may come from the cache: at least the last is computed, and the one before each scored position."""
        return min(self.num_tokens - 1, max(self.first_scored - 1, 0) if self.first_scored < self.num_prompt else self.num_tokens)

    def score_span(self, num_new: int) -> tuple[int, tuple[int, ...]]:
        """(row among this step's new tokens, prompt ids): logits at row + i predict ids[i]."""
        first = max(self.first_scored, self.num_computed + 1)
        last = min(self.num_computed + num_new, self.num_prompt - 1)
        if not self.request.return_logprob or first > last:
            return 0, ()
        return first - 1 - self.num_computed, self.request.input_ids[first : last + 1]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a commit produced for one sequence, before it becomes text."""

    seq: Sequence
    token_id: int | None
    logprob: TokenLogprob | None
    prompt_logprobs: tuple[TokenLogprob, ...]
    num_allowed: int | None = None
    error: str = ""
