"""The engine as a plain object: `add`, `abort`, `step`. No thread, no socket, no print; clock, seed and runner are arguments."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any

from msgspec import structs

from workbench.cache.eviction import EVICTION
from workbench.cache.prefix import PrefixCache
from workbench.engine.constraint import Tail, context, cut_short, state
from workbench.engine.jump import NUM_CONTEXT, JumpForward
from workbench.engine.limits import CoreConfig, check_request
from workbench.engine.plan import NOTHING_ALLOWED, Runner, Sampled, StepPlan
from workbench.engine.policy import POLICIES
from workbench.engine.scheduler import Scheduler, SchedulerConfig
from workbench.engine.sequence import Outcome, Sequence, TextOut
from workbench.errors import InvalidRequest, QueueFull, in_one_line
from workbench.events import EventLog, RequestArrived, RequestFinished, StepExecuted, StepMember, TokenSampled
from workbench.types import FinishReason, Request, TokenLogprob, TokenOut

logger = logging.getLogger("workbench.engine")


class EngineCore:
    def __init__(
        self,
        config: CoreConfig,
        runner: Runner,
        *,
        log: EventLog | None = None,
        clock: Callable[[], float] = time.monotonic,
        text_for: Callable[[Request], TextOut] | None = None,
        jump: JumpForward | None = None,
        disable_jump_forward: bool = False,
    ) -> None:
        self.config = config
        self.runner = runner
        self.log = log if log is not None else EventLog()
        self.clock = clock
        self._text_for = text_for
        self._jump = jump
        self.disable_jump_forward = disable_jump_forward
        self.cache = PrefixCache(
            config.num_pages, config.page_size, EVICTION[config.eviction_policy], self.log, clock, config.disable_radix_cache
        )
        scheduler = SchedulerConfig(
            max_running=config.max_running,
            chunk=config.chunk,
            max_prefill_tokens=max(config.max_prefill_tokens, config.context_length),
            prefill_only_one=config.prefill_only_one,
            mixed=config.mixed,
            conservativeness=config.conservativeness,
            eos_ids=config.eos_ids,
        )
        self.scheduler = Scheduler(
            scheduler, self.cache, POLICIES[config.schedule_policy], self.log, clock, random.Random(config.seed)
        )
        self._by_rid: dict[str, Sequence] = {}
        self._finished: list[TokenOut] = []
        self._deadlines: dict[str, float] = {}
        self._next_id = 1

    @property
    def has_work(self) -> bool:
        """Whether `step` would do something now; a request whose constraint is being compiled gives it nothing to do."""
        return len(self._by_rid) > len(self.scheduler.compiling) or bool(self._finished) or self.idle_s == 0

    @property
    def idle_s(self) -> float | None:
        """How long a core without work may be left alone before a request in it times out; None for ever."""
        return max(min(self._deadlines.values()) - self.clock(), 0.0) if self._deadlines else None

    # -- doors --------------------------------------------------------------------------------------------------

    def add(self, request: Request, *, matcher: Any = None, processor: Any = None, is_compiling: bool = False) -> None:
        """Queues a request, or raises an error that names the field, the value and the limit.

        `matcher` is the request's compiled constraint at its start, `processor` its custom logit processor. With
        `is_compiling` the request is not admitted before `supply` brings the matcher.
        """
        self.check_request(request)
        if request.rid in self._by_rid:
            raise InvalidRequest("rid", request.rid, "an id that is not in use")
        self.check_queue(len(self._by_rid))
        text = self._text_for(request) if self._text_for is not None else None
        seq = Sequence(self._next_id, request, self.clock(), text, matcher, processor)
        self._next_id += 1
        self._by_rid[request.rid] = seq
        if request.timeout_s is not None:
            self._deadlines[request.rid] = seq.arrived + request.timeout_s
        if self.log.on:
            self.log.add(
                RequestArrived(time=seq.arrived, rid=request.rid, num_prompt=seq.num_prompt, namespace=request.namespace,
                               max_new_tokens=request.params.max_new_tokens, priority=request.priority,
                               grammar=request.params.constraint)
            )  # fmt: skip
        self.scheduler.enqueue(seq, is_compiling=is_compiling)
        if not is_compiling:
            self._begin(seq)

    def supply(self, rid: str, matcher: Any) -> None:
        """The constraint of a request that was added while it was being compiled. Ids that are gone are ignored."""
        seq = self._by_rid.get(rid)
        if seq is not None and seq in self.scheduler.compiling:
            seq.matcher = matcher
            self.scheduler.compiled(seq)
            self._begin(seq)

    def check_request(self, request: Request) -> None:
        """Reads only: raises if this engine can never serve the request. Safe to call from any thread."""
        check_request(self.config, request)

    def check_queue(self, num_open: int, num_new: int = 1) -> None:
        """Reads only: raises `QueueFull` when `num_new` more requests would not fit beside `num_open` unfinished ones."""
        limit = self.config.max_queued
        if limit is not None and num_open + num_new > limit + self.config.max_running:
            raise QueueFull(
                f"{num_open} requests open, the limit: {self.config.max_running} running, {limit} queued (max_queued_requests)",
                hint="send it again later",
            )

    def abort(self, rid: str, message: str = "aborted by the caller") -> bool:
        """Ends a request now, or every sample of a group: pages come back before the next step. False if there is none."""
        ending = [seq for seq in self._by_rid.values() if rid in (seq.rid, seq.request.group)]
        for seq in ending:
            try:
                rest = _held_back(seq)
            except Exception:
                logger.exception("the text that %s held back is lost", seq.rid)
                rest = ""
            if seq.held is not None:  # what nobody has seen is not part of the output
                seq.cut(len(seq.output_ids) - len(seq.held.token_ids))
                rest = ""
            self._finished.append(self._finish(seq, _aborted(message), text=rest))
        return bool(ending)

    def fail(self, rid: str, message: str) -> None:
        """Ends a request whose caller is told why in another way: there is no output of it."""
        if (seq := self._by_rid.get(rid)) is not None:
            self._finish(seq, _aborted(message))

    def flush_cache(self) -> int:
        """Drops every cached prefix that no request uses; the number of tokens dropped."""
        return self.cache.flush()

    # -- the loop -----------------------------------------------------------------------------------------------

    def step(self) -> list[TokenOut]:
        """Plans, executes and commits one forward pass; what it produced, and what ended since the last call."""
        self._expire()
        started = self.clock()
        plan = self.scheduler.plan()
        if not plan.seqs:
            return self._drain()
        planned = self.clock()
        num_waiting = len(self.scheduler.waiting)
        try:
            result = self.runner.execute(plan)
        except Exception as error:
            logger.exception("step %d failed", plan.step)
            return self._fail(plan, f"the forward pass failed: {in_one_line(error)}")
        executed = self.clock()
        sent = [self._output(outcome) for outcome in self.scheduler.commit(plan, result)]
        if self.log.on:
            self._log_step(plan, (started, planned, executed), num_waiting)
        if self.config.check:
            self.cache.check()
        return [*self._drain(), *(out for out in sent if out is not None)]

    def _fail(self, plan: StepPlan, message: str) -> list[TokenOut]:
        """Ends the requests of a step that could not be executed; nothing of it was committed, the others go on."""
        for planned in plan.seqs:
            self.abort(planned.rid, message)
        return self._drain()

    def _drain(self) -> list[TokenOut]:
        finished, self._finished = self._finished, []
        return finished

    def _expire(self) -> None:
        if self._deadlines:
            now = self.clock()
            for rid in [rid for rid, deadline in self._deadlines.items() if now >= deadline]:
                self.abort(rid, f"timed out after {self._by_rid[rid].request.timeout_s:g} s (timeout_s)")

    def _output(self, outcome: Outcome) -> TokenOut | None:
        """One sequence's part of a step as text. What fails on the way (its grammar, its detokenizer) ends this request alone."""
        seq, token_id = outcome.seq, outcome.token_id
        try:
            tail = self._decide(outcome)
        except Exception as error:
            logger.exception("request %s ends: its token %s could not be handled", seq.rid, token_id)
            what = f"output token {len(seq.output_ids) - 1} (id {token_id}) could not be handled"
            tail = Tail(() if token_id is None else (token_id,), 1, "", _aborted(f"{what}: {in_one_line(error)}"))
        return self._send(seq, tail, outcome.prompt_logprobs, _logprobs(outcome.drawn, tail), outcome.forced_logprobs)

    def _send(
        self, seq: Sequence, tail: Tail, prompt: tuple[TokenLogprob, ...] = (), own: tuple[TokenLogprob, ...] = (),
        forced: tuple[TokenLogprob, ...] = (),
    ) -> TokenOut | None:  # fmt: skip
        """None while forced tokens wait for the log-probabilities that were asked for; they go out with a later step."""
        held = seq.held or TokenOut(rid=seq.rid)
        seq.held = None
        flags = [(out.forced or (False,) * len(out.token_ids)) for out in (held, tail)]
        out = TokenOut(
            rid=seq.rid,
            token_ids=held.token_ids + tail.token_ids,
            text=held.text + tail.text,
            logprobs=held.logprobs + forced + own,
            forced=flags[0] + flags[1] if any(flags[0] + flags[1]) else (),
            prompt_logprobs=held.prompt_logprobs + prompt,
            num_cached=seq.num_reused,
            finish=tail.finish or held.finish,
        )
        if seq.request.return_logprob and len(out.logprobs) < len(out.token_ids) and not _is_abort(out.finish):
            seq.held = out
            return None
        if out.finish is not None:
            self._finish(seq, out.finish)
        return out

    def _decide(self, outcome: Outcome) -> Tail:
        """The tokens and the text that are certain now, and why they were the last, if they were."""
        seq, token_id, tail = outcome.seq, outcome.token_id, Tail()
        if seq.held is not None and seq.held.finish is not None:
            return tail
        if outcome.error:
            tail = Tail(finish=_aborted(self._with_state(seq, outcome.drawn)))
        elif token_id is not None:
            tail = self._advance(seq, token_id, outcome.drawn.num_allowed)
        return self._ended(seq, tail) if token_id is not None or outcome.error or seq.num_pending == 0 else tail

    def _ended(self, seq: Sequence, tail: Tail) -> Tail:
        """With the reason and the text held back, where the request has come to its end."""
        finish = tail.finish
        if finish is None and seq.num_left == 0:
            finish = FinishReason("length", length=len(seq.output_ids))
            if seq.matcher is not None and not seq.matcher.is_complete:
                spec, text = seq.request.params.constraint, self._text_so_far(seq)
                message = cut_short(spec, seq.matcher, text) if spec is not None else None
                finish = FinishReason("length", length=len(seq.output_ids), constraint="incomplete", message=message)
        if finish is None:
            return tail
        text = tail.text + _held_back(seq)
        matched = seq.text.matched if seq.text is not None else None
        if matched is not None and finish.type == "length":  # the held back text completed a stop string
            finish = FinishReason("stop", matched=matched)
        return Tail(tail.token_ids, tail.num_own, text, finish)

    def _text_so_far(self, seq: Sequence) -> str:
        return "" if self._jump is None else self._jump.text(seq.output_ids)

    def _with_state(self, seq: Sequence, drawn: Sampled) -> str:
        if drawn.token_id != NOTHING_ALLOWED or seq.matcher is None:
            return drawn.error
        return f"{drawn.error}; {state(seq.matcher, self._text_so_far(seq))}"

    def _advance(self, seq: Sequence, token_id: int, num_allowed: int | None) -> Tail:
        params = seq.request.params
        if token_id in params.stop_token_ids or (token_id in self.config.eos_ids and not params.ignore_eos):
            self._log_token(seq, len(seq.output_ids) - 1, num_allowed)
            return Tail((token_id,), 1, "", FinishReason("stop", matched=token_id))
        if seq.matcher is None:
            return self._append(seq, (token_id,), 1)
        seq.matcher.accept(token_id)
        tail = self._append(seq, *(self._forced(seq, token_id) or ((token_id,), 1)), num_allowed)
        return tail if tail.finish is not None else self._with_end(seq, tail)

    def _with_end(self, seq: Sequence, tail: Tail) -> Tail:
        """Where nothing but a stop token may follow, and nobody wants to know its probability, it is not drawn."""
        params = seq.request.params
        may_end = seq.num_left > 0 and len(seq.output_ids) >= params.min_new_tokens and not params.ignore_eos
        if self._jump is None or self.disable_jump_forward or not may_end or seq.request.return_logprob or seq.processor:
            return tail
        token_id = self._jump.end(seq.matcher)
        if token_id is None or (token_id not in params.stop_token_ids and token_id not in self.config.eos_ids):
            return tail
        seq.output_ids.append(token_id)
        self._log_token(seq, len(seq.output_ids) - 1, None, forced=True)
        return Tail((*tail.token_ids, token_id), tail.num_own, tail.text, FinishReason("stop", matched=token_id))

    def _forced(self, seq: Sequence, drawn: int | None) -> tuple[tuple[int, ...], int] | None:
        """Changes: forced text behind `drawn`, the last token, is put into the output; what stands there now, as in `Jump`."""
        if self._jump is None or self.disable_jump_forward or seq.matcher is None:
            return None
        num_drawn = int(drawn is not None)
        before = context(seq.request.input_ids, seq.output_ids, num_drawn, NUM_CONTEXT)
        stop_ids = self.config.eos_ids | frozenset(seq.request.params.stop_token_ids)
        jump = self._jump.jump(seq.matcher, before, drawn, stop_ids, seq.num_left + num_drawn)
        if jump is None:
            return None
        seq.force(jump.token_ids, num_drawn)
        return jump.token_ids, jump.num_own

    def _begin(self, seq: Sequence) -> None:
        """What a constraint forces before anything was drawn is computed with the prompt."""
        if (forced := self._forced(seq, None)) is not None:
            out = self._send(seq, self._ended(seq, self._append(seq, *forced)))
            if out is not None:
                self._finished.append(out)

    def _append(self, seq: Sequence, token_ids: tuple[int, ...], num_own: int, num_allowed: int | None = None) -> Tail:
        """The output's last tokens become text. What follows a stop string is dropped."""
        text, first = "", len(seq.output_ids) - len(token_ids)
        for i, token_id in enumerate(token_ids):
            self._log_token(seq, first + i, num_allowed if i == 0 else None, forced=i >= num_own)
            piece, matched = seq.text.push(token_id) if seq.text is not None else ("", None)
            text += piece
            if matched is not None:
                seq.cut(first + i + 1)
                return Tail(token_ids[: i + 1], min(num_own, i + 1), text, FinishReason("stop", matched=matched))
        has_ended = seq.matcher is not None and seq.request.params.ignore_eos and seq.matcher.is_finished
        return Tail(token_ids, num_own, text, FinishReason("stop") if has_ended else None)

    def _log_token(self, seq: Sequence, position: int, num_allowed: int | None, *, forced: bool = False) -> None:
        if self.log.on:
            self.log.add(
                TokenSampled(time=self.clock(), rid=seq.rid, token_id=seq.output_ids[position], position=position,
                             num_allowed=None if forced else num_allowed, forced=forced)
            )  # fmt: skip

    def _finish(self, seq: Sequence, reason: FinishReason, text: str = "") -> TokenOut:
        self.scheduler.vacate(seq)
        del self._by_rid[seq.rid]
        self._deadlines.pop(seq.rid, None)
        if self.log.on:
            detail = reason.message or ("" if reason.matched is None else repr(reason.matched))
            self.log.add(
                RequestFinished(time=self.clock(), rid=seq.rid, reason=reason.type, detail=detail, num_prompt=seq.num_prompt,
                                num_cached=seq.num_reused, num_output=len(seq.output_ids))
            )  # fmt: skip
        return TokenOut(rid=seq.rid, text=text, num_cached=seq.num_reused, finish=reason)

    def _log_step(self, plan: StepPlan, times: tuple[float, float, float], num_waiting: int) -> None:
        started, planned, executed = times
        now = self.clock()
        members = tuple(
            StepMember(
                seq.rid,
                seq.num_cached,
                seq.num_new,
                "decode" if seq.num_new == 1 and seq.sample and seq.sample.position else "prefill",
            )
            for seq in plan.seqs
        )
        pool, tree = self.cache.pool, self.cache.tree
        self.log.add(
            StepExecuted(time=now, step=plan.step, members=members, plan_s=planned - started, execute_s=executed - planned,
                         commit_s=now - executed, budget_left=self.scheduler.budget_left, num_waiting=num_waiting,
                         pages_free=pool.num_free, pages_tree=tree.num_pages,
                         pages_owned=pool.num_pages - pool.num_free - tree.num_pages)
        )  # fmt: skip


def _held_back(seq: Sequence) -> str:
    return seq.text.finish() if seq.text is not None else ""


def _is_abort(finish: FinishReason | None) -> bool:
    return finish is not None and finish.type == "abort"


def _logprobs(drawn: Sampled, tail: Tail) -> tuple[TokenLogprob, ...]:
    """Of the drawn token, as it is written now: the position's distribution is the same."""
    if drawn.logprob is None or not tail.token_ids or tail.token_ids[0] == drawn.token_id or drawn.logprob_of is None:
        return () if drawn.logprob is None else (drawn.logprob,)
    token_id = tail.token_ids[0]
    return (structs.replace(drawn.logprob, token_id=token_id, logprob=drawn.logprob_of(token_id)),)


def _aborted(message: str) -> FinishReason:
    """Messages may quote what a user wrote; they have to pass through UTF-8."""
    return FinishReason("abort", message=message.encode("utf-8", "replace").decode())
