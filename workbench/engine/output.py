"""What became of one step's tokens: text that is certain, forced text behind it, and the reason where they were the last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from msgspec import structs

from workbench.engine.jump import NUM_CONTEXT, JumpForward
from workbench.engine.plan import NOTHING_ALLOWED, Sampled
from workbench.engine.sequence import Outcome, Sequence
from workbench.errors import in_one_line
from workbench.events import EventLog, TokenSampled
from workbench.grammar.unfinished import Tail, context, cut_short, expected, state
from workbench.types import FinishReason, HiddenRows, TokenLogprob, TokenOut

logger = logging.getLogger("workbench.engine")
Logprobs = tuple[TokenLogprob, ...]


class OutputWriter:
    """Changes sequences: their text, matcher and forced tokens. Ending them is the core's business: it reads `finish`."""

    def __init__(
        self, eos_ids: Collection[int], jump: JumpForward | None, is_jumping: bool, log: EventLog, clock: Callable[[], float]
    ) -> None:
        """`jump` knows texts, and writes what is forced where `is_jumping`; else every token is drawn."""
        self._eos_ids = frozenset(eos_ids)
        self._jump = jump
        self._is_jumping = is_jumping
        self._log = log
        self._clock = clock

    def write(self, outcome: Outcome) -> TokenOut | None:
        """One sequence's part of a step as text. What fails on the way (its grammar, its detokenizer) ends this request alone.

        None while forced tokens wait for the log-probabilities that were asked for; they go out with a later step.
        """
        seq, token_id = outcome.seq, outcome.token_id
        try:
            tail = self._decide(outcome)
        except Exception as error:
            logger.exception("request %s ends: its token %s could not be handled", seq.rid, token_id)
            what = f"output token {len(seq.output_ids) - 1} (id {token_id}) could not be handled"
            tail = Tail(() if token_id is None else (token_id,), 1, "", aborted(f"{what}: {in_one_line(error)}"))
        logprobs = (outcome.prompt_logprobs, _logprobs(outcome.drawn, tail), outcome.forced_logprobs)
        return self._send(seq, tail, *logprobs, outcome.hidden)

    def begin(self, seq: Sequence) -> TokenOut | None:
        """What a constraint forces before anything was drawn is computed with the prompt."""
        forced = self._forced(seq, None)
        return None if forced is None else self._send(seq, self._ended(seq, self._append(seq, *forced)))

    def _decide(self, outcome: Outcome) -> Tail:
        """The tokens and the text that are certain now, and why they were the last, if they were."""
        seq, token_id, tail = outcome.seq, outcome.token_id, Tail()
        if seq.held is not None and seq.held.finish is not None:
            return tail
        if outcome.error:
            tail = Tail(finish=aborted(self._with_state(seq, outcome.drawn)))
        elif token_id is not None:
            tail = self._advance(seq, token_id, outcome.drawn)
        return self._ended(seq, tail) if token_id is not None or outcome.error or seq.num_pending == 0 else tail

    def _ended(self, seq: Sequence, tail: Tail) -> Tail:
        """With the reason and the text held back, where the request has come to its end."""
        finish = tail.finish
        if finish is None and seq.num_left == 0:
            finish = FinishReason("length", length=len(seq.output_ids))
        if finish is None:
            return tail
        text = tail.text + held_back(seq)
        matched = seq.text.matched if seq.text is not None else None
        if matched is not None and finish.type == "length":  # the held back text completed a stop string
            finish = FinishReason("stop", matched=matched)
        return Tail(tail.token_ids, tail.num_own, text, finish)

    def _text_so_far(self, seq: Sequence) -> str:
        return "" if self._jump is None else self._jump.text(seq.output_ids)

    def _with_state(self, seq: Sequence, drawn: Sampled) -> str:
        if drawn.token_id != NOTHING_ALLOWED or seq.matcher is None:
            return drawn.error
        return f"{drawn.error}; {state(self._text_so_far(seq), expected(seq.matcher))}"

    def _advance(self, seq: Sequence, token_id: int, drawn: Sampled) -> Tail:
        params = seq.request.params
        if token_id in params.stop_token_ids or (token_id in self._eos_ids and not params.ignore_eos):
            self._log_token(seq, len(seq.output_ids) - 1, drawn)
            return Tail((token_id,), 1, "", FinishReason("stop", matched=token_id))
        if seq.matcher is None:
            return self._append(seq, (token_id,), 1, drawn)
        seq.matcher.accept(token_id)
        tail = self._append(seq, *(self._forced(seq, token_id) or ((token_id,), 1)), drawn)
        return tail if tail.finish is not None else self._with_end(seq, tail)

    def _with_end(self, seq: Sequence, tail: Tail) -> Tail:
        """Where nothing but a stop token may follow, and nobody wants to know its probability, it is not drawn."""
        params = seq.request.params
        may_end = seq.num_left > 0 and len(seq.output_ids) >= params.min_new_tokens and not params.ignore_eos
        if self._jump is None or not self._is_jumping or not may_end or seq.request.return_logprob or seq.processor:
            return tail
        token_id, stop_ids = self._jump.end(seq.matcher), self._eos_ids.union(params.stop_token_ids)
        if token_id is None or token_id not in stop_ids or token_id in params.logit_bias:
            return tail
        seq.output_ids.append(token_id)
        self._log_token(seq, len(seq.output_ids) - 1, None, forced=True)
        return Tail((*tail.token_ids, token_id), tail.num_own, tail.text, FinishReason("stop", matched=token_id))

    def _forced(self, seq: Sequence, drawn: int | None) -> tuple[tuple[int, ...], int] | None:
        """Changes: forced text behind `drawn`, the last token, is put into the output; what stands there now, as in `Jump`."""
        if self._jump is None or not self._is_jumping or seq.matcher is None:
            return None
        num_drawn = int(drawn is not None)
        before = context(seq.request.input_ids, seq.output_ids, num_drawn, NUM_CONTEXT)
        stop_ids = self._eos_ids | frozenset(seq.request.params.stop_token_ids)
        jump = self._jump.jump(seq.matcher, before, drawn, stop_ids, seq.num_left + num_drawn)
        if jump is None:
            return None
        seq.force(jump.token_ids, num_drawn)
        return jump.token_ids, jump.num_own

    def _append(self, seq: Sequence, token_ids: tuple[int, ...], num_own: int, drawn: Sampled | None = None) -> Tail:
        """The output's last tokens become text. What follows a stop string is dropped."""
        text, first = "", len(seq.output_ids) - len(token_ids)
        for i, token_id in enumerate(token_ids):
            self._log_token(seq, first + i, drawn if i == 0 else None, forced=i >= num_own)
            piece, matched = seq.text.push(token_id) if seq.text is not None else ("", None)
            text += piece
            if matched is not None:
                seq.cut(first + i + 1)
                return Tail(token_ids[: i + 1], min(num_own, i + 1), text, FinishReason("stop", matched=matched))
        has_ended = seq.matcher is not None and seq.request.params.ignore_eos and seq.matcher.is_finished
        return Tail(token_ids, num_own, text, FinishReason("stop") if has_ended else None)

    def _log_token(self, seq: Sequence, position: int, drawn: Sampled | None, *, forced: bool = False) -> None:
        if self._log.on:
            known = None if forced else drawn
            self._log.add(
                TokenSampled(time=self._clock(), rid=seq.rid, token_id=seq.output_ids[position], position=position,
                             num_allowed=known and known.num_allowed, forced=forced, detail=known and known.detail)
            )  # fmt: skip

    def judge(self, seq: Sequence, finish: FinishReason) -> FinishReason:
        """Reads only: the reason, and where the text does not satisfy the request's constraint that and what could come next."""
        spec, coming, message = seq.request.params.constraint, None, finish.message
        if spec is None or finish.constraint is not None:
            return finish
        try:
            matcher = self._matcher_behind(seq, finish)
            if matcher is not None and matcher.is_complete:
                return finish
            if matcher is not None and finish.type != "abort":
                coming = expected(matcher)
            if coming is not None and finish.type == "length":
                message = cut_short(spec, self._text_so_far(seq), coming)
        except Exception:
            logger.exception("where %s stands in its constraint is not known", seq.rid)
        return structs.replace(finish, constraint="incomplete", expected=coming, message=message)

    def _matcher_behind(self, seq: Sequence, finish: FinishReason) -> Any:
        """Where the text ends in its constraint; a stop string is not part of the text."""
        if seq.start is None or self._jump is None or not isinstance(finish.matched, str):
            return seq.matcher
        data, matcher = self._jump.data(seq.output_ids).partition(finish.matched.encode())[0], seq.start.fork()
        return matcher if matcher.accept_bytes(data) == len(data) else None

    def _send(
        self, seq: Sequence, tail: Tail, prompt: Logprobs = (), own: Logprobs = (), forced: Logprobs = (),
        hidden: tuple[HiddenRows, ...] = (),
    ) -> TokenOut | None:  # fmt: skip
        held = seq.held or TokenOut(rid=seq.rid)
        seq.held = None
        flags = [(out.forced or (False,) * len(out.token_ids)) for out in (held, tail)]
        finish = tail.finish or held.finish
        out = TokenOut(
            rid=seq.rid,
            token_ids=held.token_ids + tail.token_ids,
            text=held.text + tail.text,
            logprobs=held.logprobs + forced + own,
            forced=flags[0] + flags[1] if any(flags[0] + flags[1]) else (),
            prompt_logprobs=held.prompt_logprobs + prompt,
            hidden=held.hidden + hidden,
            num_cached=seq.num_reused,
            finish=finish and self.judge(seq, finish),
        )
        is_abort = finish is not None and finish.type == "abort"
        if seq.request.return_logprob and len(out.logprobs) < len(out.token_ids) and not is_abort:
            seq.held = out
            return None
        return out


def held_back(seq: Sequence) -> str:
    return seq.text.finish() if seq.text is not None else ""


def aborted(message: str) -> FinishReason:
    """Messages may quote what a user wrote; they have to pass through UTF-8."""
    return FinishReason("abort", message=message.encode("utf-8", "replace").decode())


def _logprobs(drawn: Sampled, tail: Tail) -> tuple[TokenLogprob, ...]:
    """Of the drawn token, as it is written now: the position's distribution is the same."""
    if drawn.logprob is None or not tail.token_ids or tail.token_ids[0] == drawn.token_id or drawn.logprob_of is None:
        return () if drawn.logprob is None else (drawn.logprob,)
    token_id = tail.token_ids[0]
    return (structs.replace(drawn.logprob, token_id=token_id, logprob=drawn.logprob_of(token_id)),)
