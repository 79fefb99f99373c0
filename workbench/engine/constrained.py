"""The output of a request under a constraint: its matcher moves along, and text that the grammar forces is written undrawn.

It differs from a plain output in four ways. After each draw, `JumpForward` may write forced text, and the token just
drawn in another way. Where only an end token may follow, the output ends with it. Tokens whose log-probabilities are wanted
and not known are held back until a later step has computed them. A finish reason states where the text ends in its
constraint.
"""

from __future__ import annotations

import logging

from msgspec import structs

from workbench.engine.jump import NUM_CONTEXT, Jump, JumpForward
from workbench.engine.output import Ids, Output, Tail, TextOut, aborted
from workbench.engine.plan import NOTHING_ALLOWED, Sampled
from workbench.grammar import Matcher
from workbench.grammar.unfinished import cut_short, expected, state
from workbench.types import FinishReason, Request, TokenLogprob, TokenOut

logger = logging.getLogger("workbench.engine")


class ConstrainedOutput(Output):
    def __init__(
        self, request: Request, eos_ids: frozenset[int], text: TextOut | None, matcher: Matcher | None,
        jump: JumpForward | None = None, is_jumping: bool = True,
    ) -> None:  # fmt: skip
        """Takes a `matcher` at its start, or None while the constraint is being compiled and `constrain` will bring it.

        `jump` decodes tokens for messages, and writes forced text if `is_jumping`; else every token is drawn.
        """
        super().__init__(request, eos_ids, text)
        self._spelling = jump
        self._jump = jump if is_jumping else None
        self._never_forced = eos_ids | frozenset(request.params.stop_token_ids)
        self._held: TokenOut | None = None
        self._start: Matcher | None = None
        """The matcher at the beginning of the output, kept if a stop string may cut the text back."""
        if matcher is not None:
            self.constrain(matcher)

    def constrain(self, matcher: Matcher) -> None:
        """Changes: the output has to satisfy this."""
        self.matcher = matcher
        self._start = matcher.fork() if self.request.params.stop else None

    def begin(self) -> Tail | None:
        """Changes: the matcher moves past the text that every output begins with, which is computed with the prompt."""
        try:
            jump = self._forced(None, ())
            return None if jump is None else self._ended(self._written(jump, None), ())
        except Exception as error:
            return self._failed("the beginning of the output", None, (), error)

    def send(self, out: TokenOut) -> TokenOut | None:
        """Returns all that can be sent: None while log-probabilities of its tokens are wanted and not computed."""
        if self._held is not None:
            out = merged(self._held, out)
        is_abort = out.finish is not None and out.finish.type == "abort"
        is_held = self.request.return_logprob and len(out.logprobs) < len(out.token_ids) and not is_abort
        self._held = out if is_held else None
        self.num_held = len(out.token_ids) if is_held else 0
        return None if is_held else out

    def abort(self, message: str, output_ids: Ids) -> Tail:
        """Returns as for a plain output. Tokens that were held back are no part of it, nor is the text behind them."""
        if self._held is None:
            return super().abort(message, output_ids)
        self.matcher = None  # it stands behind the tokens that were held back
        return Tail(finish=self._judged(aborted(message), output_ids))

    # -- one draw ------------------------------------------------------------------------------------------------

    def _next(self, sampled: Sampled, output_ids: Ids) -> Tail:
        """Returns the token and what is forced behind it, with their text."""
        if sampled.error or sampled.token_id in self._stop_ids:
            return super()._next(sampled, output_ids)
        assert self.matcher is not None
        self.matcher.accept(sampled.token_id)
        jump = self._forced(sampled.token_id, output_ids) or Jump((sampled.token_id,), 1)
        tail = self._written(jump, sampled)
        return tail if tail.finish is not None else self._with_end(tail, len(output_ids) + len(tail.token_ids))

    def _forced(self, drawn: int | None, output_ids: Ids) -> Jump | None:
        """Changes: the matcher moves past forced text. Returns what stands in the place of `drawn` then."""
        if self._jump is None or self.matcher is None:
            return None
        before = (*self.request.input_ids[-NUM_CONTEXT:], *output_ids[-NUM_CONTEXT:])[-NUM_CONTEXT:]
        room = self.request.params.max_new_tokens - len(output_ids)
        return self._jump.jump(self.matcher, before, drawn, self._never_forced, room)

    def _written(self, jump: Jump, sampled: Sampled | None) -> Tail:
        """Returns the tokens with their text, up to the one that completes a stop string."""
        text, matched, num = "", None, 0
        while num < len(jump.token_ids) and matched is None:
            piece, matched = self._text.push(jump.token_ids[num]) if self._text is not None else ("", None)
            text += piece
            num += 1
        finish = None if matched is None else FinishReason("stop", matched=matched)
        if finish is None and self.request.params.ignore_eos and self.matcher is not None and self.matcher.is_finished:
            finish = FinishReason("stop")
        ids, drawn = jump.token_ids[:num], () if sampled is None else (sampled,)
        return Tail(ids, drawn, max(num - jump.num_own, 0), text, logprobs(drawn, ids), finish)

    def _with_end(self, tail: Tail, num_output: int) -> Tail:
        """Returns the tail with its stop token if only one may follow and its probability is not wanted."""
        params, request = self.request.params, self.request
        may_end = params.min_new_tokens <= num_output < params.max_new_tokens and not params.ignore_eos
        if self._jump is None or self.matcher is None or not may_end:
            return tail
        if request.return_logprob or request.custom_logit_processor is not None:
            return tail
        token_id = self._jump.end(self.matcher)
        if token_id is None or token_id not in self._stop_ids or token_id in params.logit_bias:
            return tail
        finish = FinishReason("stop", matched=token_id)
        return structs.replace(tail, token_ids=(*tail.token_ids, token_id), num_forced=tail.num_forced + 1, finish=finish)

    # -- where the text stands -----------------------------------------------------------------------------------

    def _why_none(self, sampled: Sampled, output_ids: Ids) -> str:
        if sampled.token_id != NOTHING_ALLOWED or self.matcher is None:
            return sampled.error
        return f"{sampled.error}; {state(self._spelled(output_ids), expected(self.matcher))}"

    def _judged(self, finish: FinishReason, output_ids: Ids) -> FinishReason:
        """Returns the reason; if the text does not satisfy the constraint, with that and with what could come next."""
        spec, coming, message = self.request.params.constraint, None, finish.message
        if spec is None:
            return finish
        try:
            matcher = self._matcher_behind(finish, output_ids)
            if matcher is not None and matcher.is_complete:
                return finish
            if matcher is not None and finish.type != "abort":
                coming = expected(matcher)
            if coming is not None and finish.type == "length":
                message = cut_short(spec, self._spelled(output_ids), coming)
        except Exception:
            logger.exception("where %s stands in its constraint is not known", self.request.rid)
        return structs.replace(finish, constraint="incomplete", expected=coming, message=message)

    def _matcher_behind(self, finish: FinishReason, output_ids: Ids) -> Matcher | None:
        """Returns a matcher at the end of the text, of which a stop string is no part."""
        if self._start is None or self._spelling is None or not isinstance(finish.matched, str):
            return self.matcher
        data, matcher = self._spelling.data(output_ids).partition(finish.matched.encode())[0], self._start.fork()
        return matcher if matcher.accept_bytes(data) == len(data) else None

    def _spelled(self, output_ids: Ids) -> str:
        return "" if self._spelling is None else self._spelling.text(output_ids)


def logprobs(drawn: tuple[Sampled, ...], token_ids: tuple[int, ...]) -> tuple[TokenLogprob, ...]:
    """Returns the log-probability of a draw; of the token that stands in its place, if a jump wrote another."""
    if not drawn or drawn[0].logprob is None:
        return ()
    logprob, logprob_of, token_id = drawn[0].logprob, drawn[0].logprob_of, token_ids[0]
    if token_id != drawn[0].token_id and logprob_of is not None:
        logprob = structs.replace(logprob, token_id=token_id, logprob=logprob_of(token_id))
    return (logprob,)


def merged(held: TokenOut, out: TokenOut) -> TokenOut:
    """Returns what was held back and what came with a later step as one output."""
    flags = (*(held.forced or (False,) * len(held.token_ids)), *(out.forced or (False,) * len(out.token_ids)))
    return structs.replace(
        out,
        token_ids=held.token_ids + out.token_ids,
        text=held.text + out.text,
        logprobs=held.logprobs + out.logprobs,
        forced=flags if any(flags) else (),
        prompt_logprobs=held.prompt_logprobs + out.prompt_logprobs,
        hidden=held.hidden + out.hidden,
        finish=out.finish or held.finish,
    )
