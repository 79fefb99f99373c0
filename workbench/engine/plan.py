"""The values that cross between the scheduler and a runner: a step as it is planned, and as it was computed.

`Scheduler.plan` makes a `StepPlan`, a runner turns it into a `StepResult`, `Scheduler.commit` applies both. None of these
values changes after it was made, so a plan can be logged, drawn, and printed when a step fails.

A sequence takes part in a step with one or more new tokens, of which the last ones may have a `SampleRow` each. One rule
covers every kind of step:

| kind | new tokens | rows |
|---|---|---|
| prefill chunk, scoring | a part of the prompt | none |
| last chunk, plain decode | all pending tokens | one, behind the last |
| decode after forced text | the drawn token and the forced ones | one, behind the last |
| decode with drafts | all pending tokens, then the drafts | one behind the last pending token and behind each draft |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from workbench.events import TokenDetail
from workbench.grammar import Matcher
from workbench.types import Axes, HiddenRows, InputEmbeds, Picture, SamplingParams, Segment, TokenLogprob

NAN, NOTHING_ALLOWED, PROCESSOR_FAILED, GRAMMAR_FAILED = -1, -2, -3, -4
"""Negative token ids that mark a row that could not be sampled; `Sampled.error` has the reason."""


class LogitProcessor(Protocol):
    """A custom logit processor (`workbench.logit_processor`), as the planning side sees it: without torch."""

    def __call__(self, logits: Any, custom_param_list: list[dict[str, Any]]) -> Any:
        """Returns the edited logits [n, V] of n rows, given their `custom_params`."""


class SampleRow(msgspec.Struct, frozen=True):
    """All that decides one sampled token besides the logits; the sampler keeps no state between steps."""

    params: SamplingParams
    seed: int
    position: int
    """The index of the token in the output; together with the seed it fixes the random draw."""
    suppress: tuple[int, ...] = ()
    """Token ids set to -inf: end and stop ids while `min_new_tokens` is not reached."""
    prompt_ids: tuple[int, ...] = ()
    output_ids: tuple[int, ...] = ()
    """The tokens before this one; both are filled only if penalties or a custom processor need them."""
    matcher: Matcher | None = None
    """The position in the grammar before this token; a runner only reads it."""
    processor: LogitProcessor | None = None
    return_logprob: bool = False
    top_logprobs_num: int = 0
    token_ids_logprob: tuple[int, ...] = ()

    @property
    def why_nothing(self) -> str:
        """Returns the message for a row in which no token is left to sample."""
        edits = {
            "grammar": self.matcher is not None,
            "custom logit processor": self.processor is not None,
            "logit_bias": -math.inf in self.params.logit_bias.values(),
            "min_new_tokens": bool(self.suppress),
            "stop_token_ids": self.matcher is not None and bool(self.params.stop_token_ids) and not self.suppress,
        }
        causes = " and ".join(name for name, given in edits.items() if given)
        return f"no token is allowed at output position {self.position}: {causes or 'the model'} left none"


class PlannedSeq(msgspec.Struct, frozen=True):
    """One sequence's part of a step: the tokens at positions [num_cached, num_cached + len(token_ids))."""

    seq_id: int
    rid: str
    token_ids: tuple[int, ...]
    """The tokens to compute: pending tokens of the sequence, then drafts."""
    num_cached: int
    """The number of tokens before them, whose K/V already exists."""
    segments: tuple[Segment, ...]
    """The pages of all num_cached + len(token_ids) tokens in order; every segment but the last holds full pages of
    tokens. Slot of position p: page * page_size + p % page_size."""
    rows: tuple[SampleRow, ...] = ()
    """The rows to sample, one for each of the last len(rows) tokens; row i is drawn from the logits of token
    number len(token_ids) - len(rows) + i. All tokens behind the first row's are drafts."""
    score_from: int = 0
    score_ids: tuple[int, ...] = ()
    """Given tokens to score: the logits at new token number `score_from + i` give the log-probability of `score_ids[i]`."""
    top_logprobs_num: int = 0
    token_ids_logprob: tuple[int, ...] = ()
    """More log-probabilities to report at the scored positions."""
    input_embeds: InputEmbeds | None = None
    """The embeddings of a prompt that was given as such, from position 0 on: the tokens at its places stand for nothing."""
    pictures: tuple[Picture, ...] = ()
    """The pictures that have tokens among the new ones, and those at which the new ones may look by cross attention."""
    is_adapted: bool = False
    """True: the sequence is computed by the model's adapted weights, because of a picture in its prompt."""
    axes: Axes | None = None
    """The rotary positions of the whole prompt, where they are not those of the tokens in the text."""
    hidden_from: int | None = None
    """The number of the first new token whose hidden state is returned; None if none is."""

    @property
    def num_new(self) -> int:
        return len(self.token_ids)

    @property
    def num_tokens(self) -> int:
        return self.num_cached + len(self.token_ids)

    @property
    def num_pictured(self) -> int:
        """The number of new tokens that are of pictures."""
        return sum(picture.num_in(self.num_cached, self.num_tokens) for picture in self.pictures)

    @property
    def num_drafts(self) -> int:
        """The number of tokens at the end that are guesses; they count only if the rows before them draw the same."""
        return max(len(self.rows) - 1, 0)

    @property
    def is_decode(self) -> bool:
        """True for an ordinary decode step: one token that was drawn before, and its drafts."""
        return bool(self.rows) and len(self.token_ids) == len(self.rows) and self.rows[0].position > 0


class StepPlan(msgspec.Struct, frozen=True):
    """One forward pass: sequences, their tokens, their pages."""

    step: int
    seqs: tuple[PlannedSeq, ...]
    page_size: int
    detail: bool = False
    """True if each drawn token comes with its `TokenDetail`."""
    looked_at: frozenset[str] = frozenset()
    """Digests of the pictures that running requests look at, in this step or later: what a runner keeps of them stays."""

    @property
    def num_new(self) -> int:
        return sum(seq.num_new for seq in self.seqs)


class Sampled(msgspec.Struct, frozen=True):
    """One drawn token. A row that could not be sampled has a negative `token_id` and an `error`: its request ends."""

    token_id: int
    logprob: TokenLogprob | None = None
    num_allowed: int | None = None
    """The number of tokens that the grammar allowed; None without a grammar."""
    error: str = ""
    logprob_of: Callable[[int], float] | None = None
    """Returns the log-probability of any token at this position. Set where log-probabilities are wanted under a
    grammar, since a jump may write the drawn token as another."""
    detail: TokenDetail | None = None


class SeqResult(msgspec.Struct, frozen=True):
    """The results of one step for one sequence."""

    drawn: tuple[Sampled, ...] = ()
    """The accepted draws, in order: none without rows, else one or more, and all but the last equal the drafts."""
    scored: tuple[TokenLogprob, ...] = ()
    """One for each of `score_ids`."""
    hidden: HiddenRows | None = None
    """The hidden states of the new tokens from `hidden_from` on."""


class StepResult(msgspec.Struct, frozen=True):
    """The results of a step: one entry for each planned sequence, in the plan's order."""

    seqs: tuple[SeqResult, ...]


class Runner(Protocol):
    """The middle of a step. `execute` neither keeps nor changes the plan."""

    vocab_size: int

    def execute(self, plan: StepPlan) -> StepResult: ...


def accepted(planned: PlannedSeq, drawn: tuple[Sampled, ...]) -> tuple[Sampled, ...]:
    """Returns the draws that count, given one for each row: up to the first that differs from its draft.

    A draw depends on the tokens before it, on the seed and on the position alone. So the accepted draws are the tokens
    that steps of one token would have drawn.
    """
    if len(drawn) < 2:
        return drawn
    drafts = planned.token_ids[1 - len(drawn) :]
    same = next((i for i, (draft, draw) in enumerate(zip(drafts, drawn, strict=False)) if draft != draw.token_id), len(drafts))
    return drawn[: same + 1]
