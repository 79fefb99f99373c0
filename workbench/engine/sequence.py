"""One request on its way through the engine. Little is stored; phase, length and progress are derived.

Any module may read a sequence. Only its own methods write it, and each has one caller: `apply` (output, computed tokens) is
called by `Scheduler.commit`, `admit` and `leave` (its hold on the K/V) by `Batch`. A test holds the package to that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from workbench.cache.prefix import Lease
from workbench.engine.output import Output, Tail
from workbench.engine.plan import LogitProcessor
from workbench.types import FinishReason, Request

RIDE = 64
"""New tokens up to which a sequence goes along in a decode step: a forced stretch must not hold up the others."""


@dataclass(slots=True, eq=False)
class Sequence:
    """Prefill, decode, chunks and recompute after retraction are one case: some tokens are pending."""

    seq_id: int
    request: Request
    arrived: float
    output: Output
    prompt_key: tuple[int, ...] = ()
    """The prompt as the tree has it: its token ids, and numbers of pictures in the place of their tokens."""
    processor: LogitProcessor | None = None
    """The custom logit processor of the request."""
    output_ids: list[int] = field(default_factory=list)
    finish: FinishReason | None = None
    """The reason once the last output token is there; it may still wait for log-probabilities."""
    num_computed: int = 0
    """The number of tokens with K/V, from the first."""
    num_shown: int = 0
    """The number of tokens whose hidden states were given out."""
    to_score: range = range(0)
    """The positions whose log-probability is wanted and not known: of the prompt, then of forced tokens."""
    lease: Lease | None = None
    """Its hold on K/V while it is in the batch."""
    admitted_at: float | None = None
    """The time when it last left the queue; None before."""
    num_reused: int = 0
    """Prompt tokens found in the cache at the first admission: `meta_info["cached_tokens"]`."""

    def __post_init__(self) -> None:
        self.prompt_key = self.prompt_key or self.request.input_ids
        start = self.request.logprob_start_len
        if self.request.return_logprob and start >= 0:
            self.to_score = range(max(start, 1), self.num_prompt)

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def rid(self) -> str:
        return self.request.rid

    @property
    def token_ids(self) -> tuple[int, ...]:
        return (*self.request.input_ids, *self.output_ids) if self.output_ids else self.request.input_ids

    @property
    def key(self) -> tuple[int, ...]:
        """All tokens as the tree has them."""
        return (*self.prompt_key, *self.output_ids) if self.output_ids else self.prompt_key

    @property
    def num_prompt(self) -> int:
        return len(self.request.input_ids)

    @property
    def num_tokens(self) -> int:
        return len(self.request.input_ids) + len(self.output_ids)

    @property
    def num_pending(self) -> int:
        """Tokens without K/V; 1 is a plain decode step once there is output."""
        return self.num_tokens - self.num_computed

    @property
    def is_decoding(self) -> bool:
        """True if all that is pending is a little output: the token drawn last, and what the grammar forced behind it."""
        return bool(self.output_ids) and self.num_computed >= self.num_prompt and 0 < self.num_pending <= RIDE

    @property
    def num_left(self) -> int:
        """Output tokens it may still produce."""
        return self.request.params.max_new_tokens - len(self.output_ids)

    @property
    def reuse_limit(self) -> int:
        """Tokens that may come from the cache. At least the last is computed, the one before each position to score, and
        all whose hidden states are still wanted."""
        limit = min(self.num_tokens, self.to_score.start if self.to_score else self.num_tokens) - 1
        return min(limit, self.num_shown) if self.request.return_hidden_states else limit

    def score_span(self, num_new: int) -> tuple[int, tuple[int, ...]]:
        """Returns (row among so many new tokens, ids): the logits at row + i predict ids[i]."""
        first = self.to_score.start
        stop = min(self.num_computed + num_new + 1, self.to_score.stop)
        if first >= stop:
            return 0, ()
        return first - 1 - self.num_computed, self.token_ids[first:stop]

    def hidden_from(self, num_new: int) -> int | None:
        """Returns the first of so many new tokens whose hidden state is wanted; after a retraction they begin later."""
        first = max(self.num_shown - self.num_computed, 0)
        return first if self.request.return_hidden_states and first < num_new else None

    # -- how it changes -----------------------------------------------------------------------------------------

    def apply(self, tail: Tail, num_computed: int, num_scored: int = 0) -> None:
        """Changes: appends the tail to the output. From now on `num_computed` tokens have K/V, and `num_scored` more
        positions are scored; forced tokens join those to score, since no logits were drawn for them."""
        first = self.num_tokens + len(tail.drawn)
        self.output_ids += tail.token_ids
        self.finish = tail.finish or self.finish
        self.num_computed = num_computed
        self.num_shown = max(self.num_shown, num_computed)
        if num_scored:
            self.to_score = self.to_score[num_scored:]
        if self.request.return_logprob and first < self.num_tokens:
            self.to_score = range(self.to_score.start if self.to_score else first, self.num_tokens)

    def admit(self, lease: Lease, now: float) -> None:
        """Changes: it holds K/V of a first part of its tokens."""
        self.lease = lease
        self.num_computed = lease.num_shared
        if self.admitted_at is None:
            self.num_reused = min(lease.num_shared, self.num_prompt)  # and not what its constraint forced behind it
        self.admitted_at = now

    def leave(self) -> None:
        """Changes: it holds no K/V any more."""
        self.lease = None
        self.num_computed = 0
