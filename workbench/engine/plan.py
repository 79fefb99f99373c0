"""What one step will compute, as a frozen value, and what it computed.

`Scheduler.plan()` makes a `StepPlan`, a runner turns it into a `StepResult`, `Scheduler.commit()` applies both.
Nothing here is changed after it was made, so a plan can be logged, drawn, and printed when a step fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from workbench.events import TokenDetail
from workbench.types import HiddenRows, SamplingParams, Segment, TokenLogprob

NAN, NOTHING_ALLOWED, PROCESSOR_FAILED, GRAMMAR_FAILED = -1, -2, -3, -4
"""What stands for the token of a row that has none; its `error` says more, and the other rows have their tokens."""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """All that decides one sampled token besides the logits; the sampler keeps no state between steps."""

    params: SamplingParams
    seed: int
    position: int
    """Output tokens so far: with the seed it fixes the random draw."""
    suppress: tuple[int, ...] = ()
    """Ids set to -inf (end and stop ids while `min_new_tokens` is not reached)."""
    prompt_ids: tuple[int, ...] = ()
    output_ids: tuple[int, ...] = ()
    """Both filled only when penalties or a custom processor need them."""
    matcher: Any = None
    """A grammar matcher; `fill_mask` reads it, `commit` advances it."""
    processor: Any = None
    """A custom logit processor: `processor(logits, custom_param_list) -> logits`."""
    return_logprob: bool = False
    top_logprobs_num: int = 0
    token_ids_logprob: tuple[int, ...] = ()

    @property
    def why_nothing(self) -> str:
        """What to say when no token is left to sample."""
        edits = {
            "grammar": self.matcher is not None,
            "custom logit processor": self.processor is not None,
            "logit_bias": -math.inf in self.params.logit_bias.values(),
            "min_new_tokens": bool(self.suppress),
            "stop_token_ids": self.matcher is not None and bool(self.params.stop_token_ids) and not self.suppress,
        }
        causes = " and ".join(name for name, given in edits.items() if given)
        return f"no token is allowed at output position {self.position}: {causes or 'the model'} left none"


@dataclass(frozen=True, slots=True)
class PlannedSeq:
    """One sequence's part of a step: the tokens at positions [num_cached, num_cached + len(token_ids))."""

    seq_id: int
    rid: str
    token_ids: tuple[int, ...]
    """The tokens computed in this step (one for a plain decode step)."""
    num_cached: int
    """Tokens before them, whose K/V already exists."""
    segments: tuple[Segment, ...]
    """Pages of all num_cached + len(token_ids) tokens in order; every segment but the last holds full pages of
    tokens. Slot of position p: page * page_size + p % page_size."""
    sample: SampleRow | None
    """None for a prefill chunk that is not the last, and for a request that only scores."""
    score_from: int = 0
    score_ids: tuple[int, ...] = ()
    """Log-probabilities wanted of given tokens: the logits at new token number `score_from + i` are scored on `score_ids[i]`."""
    top_logprobs_num: int = 0
    token_ids_logprob: tuple[int, ...] = ()
    """For the scored positions."""
    hidden_from: int | None = None
    """The new token from which on hidden states are wanted."""

    @property
    def num_new(self) -> int:
        return len(self.token_ids)

    @property
    def num_tokens(self) -> int:
        return self.num_cached + len(self.token_ids)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One forward pass: which sequences, which tokens, which pages."""

    step: int
    seqs: tuple[PlannedSeq, ...]
    page_size: int
    detail: bool = False
    """Whether each drawn token comes with its `TokenDetail`."""

    @property
    def num_new(self) -> int:
        return sum(seq.num_new for seq in self.seqs)


@dataclass(frozen=True, slots=True)
class Sampled:
    """One drawn token. `num_allowed` is the size of the grammar's mask, None without a grammar.

    A row that could not be sampled has a negative `token_id` and says why in `error`: its request ends, the others go on.
    """

    token_id: int
    logprob: TokenLogprob | None = None
    num_allowed: int | None = None
    error: str = ""
    logprob_of: Callable[[int], float] | None = None
    """Log-probability of any token at this position, where they were asked for under a grammar: a jump may write the
    drawn token as another."""
    detail: TokenDetail | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """Aligned with the plan: `sampled` has one entry per sequence with a `sample` row, in plan order;
    `scored` maps a seq_id to the log-probabilities of given tokens (for sequences with `score_ids`)."""

    sampled: tuple[Sampled, ...]
    scored: dict[int, tuple[TokenLogprob, ...]]
    hidden: dict[int, HiddenRows] = field(default_factory=dict)
    """By seq_id, for sequences with `hidden_from`."""


class Runner(Protocol):
    """The middle word of a step. `execute` must not keep or change the plan."""

    vocab_size: int

    def execute(self, plan: StepPlan) -> StepResult: ...
