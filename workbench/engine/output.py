"""Turns the tokens drawn for one request into output: final text, and the finish reason with the last of them.

`Output.write` decides and returns a `Tail`; it changes nothing but the request's own text stream. `Sequence.apply`, called by
`Scheduler.commit`, appends the tail. Requests under a constraint have a `ConstrainedOutput` (`workbench.engine.constrained`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import msgspec
from msgspec import structs

from workbench.engine.plan import Sampled
from workbench.errors import in_one_line
from workbench.grammar import Matcher
from workbench.types import FinishReason, Request, TokenLogprob, TokenOut

logger = logging.getLogger("workbench.engine")
Ids = Sequence[int]


class TextOut(Protocol):
    """A stream from token ids to final text (`workbench.text.detokenizer.TextStream`)."""

    @property
    def matched(self) -> str | None: ...
    def push(self, token_id: int) -> tuple[str, str | None]: ...
    def finish(self) -> str: ...


class Tail(msgspec.Struct, frozen=True):
    """The tokens and the text that one step adds to the output of one request."""

    token_ids: tuple[int, ...] = ()
    """The new tokens: first those that were drawn, then those that a grammar forced."""
    drawn: tuple[Sampled, ...] = ()
    """The draws behind the first len(drawn) tokens."""
    num_forced: int = 0
    """The number of tokens, from the end, that begin in forced text."""
    text: str = ""
    """The text that became final."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """The log-probabilities of the first tokens, if they are wanted; those of forced tokens follow in a later step."""
    finish: FinishReason | None = None
    """The reason if these are the last tokens."""

    @property
    def forced(self) -> tuple[bool, ...]:
        """Returns one flag for each token; empty if none was forced."""
        num_own = len(self.token_ids) - self.num_forced
        return (False,) * num_own + (True,) * self.num_forced if self.num_forced else ()


NOTHING = Tail()


class Output:
    """The output of one request without a constraint."""

    def __init__(self, request: Request, eos_ids: frozenset[int], text: TextOut | None) -> None:
        params = request.params
        self.request = request
        self._stop_ids = frozenset(params.stop_token_ids) | (frozenset() if params.ignore_eos else eos_ids)
        self._text = text
        self.matcher: Matcher | None = None
        """The position in the grammar behind the output, which the sampler reads."""
        self.num_held = 0
        """The number of output tokens that were not sent yet."""

    def is_end(self, token_id: int) -> bool:
        """Returns whether this token ends the output where it is drawn."""
        return token_id in self._stop_ids

    def begin(self) -> Tail | None:
        """Returns what the output begins with before anything is drawn; None if that is open."""
        return None

    def write(self, drawn: tuple[Sampled, ...], output_ids: Ids) -> Tail:
        """Decides what the draws become, up to the one that ends the output. `output_ids` are the tokens before them.

        No draws mean that nothing is left to draw. What fails on the way ends this request alone.
        """
        tail = self._decide(drawn[0] if drawn else None, output_ids)
        for i in range(1, len(drawn)):
            if tail.finish is not None or tail.token_ids[i - 1 :] != (drawn[i - 1].token_id,):
                break  # the later draws follow a token that is not in the output
            tail = joined(tail, self._decide(drawn[i], (*output_ids, *tail.token_ids)))
        return tail

    def send(self, out: TokenOut) -> TokenOut | None:
        """Returns what the caller may see now."""
        return out

    def abort(self, message: str, output_ids: Ids) -> Tail:
        """Returns the text held back and the finish reason of a request that is ended from outside."""
        try:
            rest = self._rest()
        except Exception:
            logger.exception("the text that %s held back is lost", self.request.rid)
            rest = ""
        return Tail(text=rest, finish=self._judged(aborted(message), output_ids))

    # -- one draw ------------------------------------------------------------------------------------------------

    def _decide(self, sampled: Sampled | None, output_ids: Ids) -> Tail:
        try:
            return self._ended(NOTHING if sampled is None else self._next(sampled, output_ids), output_ids)
        except Exception as error:
            return self._failed("the end of the output", sampled, output_ids, error)

    def _failed(self, what: str, sampled: Sampled | None, output_ids: Ids, error: Exception) -> Tail:
        """Returns the draw as the last token, without text, and a reason that names the error."""
        logger.exception("request %s ends: its output could not be handled", self.request.rid)
        ids: tuple[int, ...] = ()
        drawn: tuple[Sampled, ...] = ()
        if sampled is not None and sampled.token_id >= 0:
            ids, drawn = (sampled.token_id,), (sampled,)
            what = f"output token {len(output_ids)} (id {sampled.token_id})"
        finish = aborted(f"{what} could not be handled: {in_one_line(error)}")
        return Tail(ids, drawn, finish=self._judged(finish, (*output_ids, *ids)))

    def _next(self, sampled: Sampled, output_ids: Ids) -> Tail:
        """Returns the token and its text; with a finish reason if a stop token or a stop string ends the output."""
        if sampled.error:
            return Tail(finish=aborted(self._why_none(sampled, output_ids)))
        token_id, text, finish = sampled.token_id, "", None
        if self.is_end(token_id):
            finish = FinishReason("stop", matched=token_id)
        elif self._text is not None:
            text, matched = self._text.push(token_id)
            finish = None if matched is None else FinishReason("stop", matched=matched)
        return Tail((token_id,), (sampled,), 0, text, () if sampled.logprob is None else (sampled.logprob,), finish)

    def _ended(self, tail: Tail, output_ids: Ids) -> Tail:
        """Adds the reason at the length limit, and with any reason the text held back."""
        finish, num_output = tail.finish, len(output_ids) + len(tail.token_ids)
        if finish is None:
            if num_output < self.request.params.max_new_tokens:
                return tail
            finish = FinishReason("length", length=num_output)
        text = tail.text + self._rest()
        matched = self._text.matched if self._text is not None else None
        if matched is not None and finish.type == "length":  # the text held back completed a stop string
            finish = FinishReason("stop", matched=matched)
        finish = self._judged(finish, (*output_ids, *tail.token_ids))
        return structs.replace(tail, text=text, finish=finish)

    def _why_none(self, sampled: Sampled, output_ids: Ids) -> str:
        """Returns the message for a row that could not be sampled."""
        return sampled.error

    def _rest(self) -> str:
        """Changes: returns the text that the stream held back."""
        return self._text.finish() if self._text is not None else ""

    def _judged(self, finish: FinishReason, output_ids: Ids) -> FinishReason:
        """Returns the reason, completed by what the text lacks; without a constraint it lacks nothing."""
        return finish


def joined(first: Tail, then: Tail) -> Tail:
    """Returns the tail of two draws, one after the other; tokens of the first are not forced."""
    return Tail(
        first.token_ids + then.token_ids, first.drawn + then.drawn, then.num_forced, first.text + then.text,
        first.logprobs + then.logprobs, then.finish,
    )  # fmt: skip


def aborted(message: str) -> FinishReason:
    """Returns the reason of a request that failed. Messages may quote a user's text; they must pass through UTF-8."""
    return FinishReason("abort", message=message.encode("utf-8", "replace").decode())
