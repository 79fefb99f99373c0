"""One request on its way through the engine. Little is stored; phase, length and progress are derived."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from workbench.cache.prefix import Lease
from workbench.engine.plan import Sampled
from workbench.engine.waiting import Wait
from workbench.types import HiddenRows, Request, TokenLogprob, TokenOut

RIDE = 64
"""New tokens up to which a sequence goes along in a decode step: a forced stretch must not hold up the others."""


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
    to_score: range = range(0)
    """Positions whose log-probability is wanted and not known: of the prompt, then of forced tokens."""
    start: Any = None
    """The matcher at the beginning of the output, kept where a stop string may cut the text back."""
    num_shown: int = 0
    """Tokens whose hidden states were given out."""
    held: TokenOut | None = None
    """Output that waits for the log-probabilities of its forced tokens."""
    lease: Lease | None = None
    wait: Wait | None = None
    """Its stay in the queue, once it was refused a place and while events are recorded."""
    was_admitted: bool = False
    admitted_at: float = 0.0
    """When it last left the queue."""

    def __post_init__(self) -> None:
        start = self.request.logprob_start_len
        if self.request.return_logprob and start >= 0:
            self.to_score = range(max(start, 1), self.num_prompt)
        if self.matcher is not None:
            self.constrain(self.matcher)

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
        """Whether all that is pending is a little output: the token drawn last, and what the grammar forced after it."""
        return bool(self.output_ids) and self.num_computed >= self.num_prompt and 0 < self.num_pending <= RIDE

    @property
    def num_left(self) -> int:
        """Output tokens it may still produce."""
        return self.request.params.max_new_tokens - len(self.output_ids)

    @property
    def reuse_limit(self) -> int:
        """Tokens that may come from the cache: at least the last is computed, the one before each scored position, and all
        whose hidden states are still wanted."""
        limit = min(self.num_tokens, self.to_score.start if self.to_score else self.num_tokens) - 1
        return min(limit, self.num_shown) if self.request.return_hidden_states else limit

    def constrain(self, matcher: Any) -> None:
        """Changes: the output has to satisfy this."""
        self.matcher = matcher
        self.start = matcher.fork() if self.request.params.stop else None

    def score_span(self, num_new: int) -> tuple[int, tuple[int, ...]]:
        """(row among this step's new tokens, ids): logits at row + i predict ids[i]."""
        first = self.to_score.start
        stop = min(self.num_computed + num_new + 1, self.to_score.stop)
        if first >= stop:
            return 0, ()
        return first - 1 - self.num_computed, self.token_ids[first:stop]

    def hidden_from(self, num_new: int) -> int | None:
        """The first of so many new tokens whose hidden state is wanted; after a retraction they begin later."""
        first = max(self.num_shown - self.num_computed, 0)
        return first if self.request.return_hidden_states and first < num_new else None

    def cut(self, num_output: int) -> None:
        """Changes: the output after so many tokens is dropped. Its K/V, if any, is not looked at again."""
        del self.output_ids[num_output:]
        self.num_computed = min(self.num_computed, self.num_tokens)
        self.to_score = range(self.to_score.start, min(self.to_score.stop, self.num_tokens))

    def force(self, token_ids: tuple[int, ...], num_replaced: int) -> None:
        """Changes: the last `num_replaced` output tokens become `token_ids`; those that no logits were drawn for are scored."""
        del self.output_ids[len(self.output_ids) - num_replaced :]
        first = self.num_tokens + num_replaced
        self.output_ids += token_ids
        if self.request.return_logprob and first < self.num_tokens:
            self.to_score = range(self.to_score.start if self.to_score else first, self.num_tokens)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a commit produced for one sequence, before it becomes text."""

    seq: Sequence
    token_id: int | None
    prompt_logprobs: tuple[TokenLogprob, ...]
    drawn: Sampled
    forced_logprobs: tuple[TokenLogprob, ...] = ()
    """Of forced tokens, which wait for them."""
    hidden: tuple[HiddenRows, ...] = ()

    @property
    def error(self) -> str:
        return self.drawn.error
