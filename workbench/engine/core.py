"""The engine as a plain object: `add`, `abort`, `step`. No thread, no socket, no print; clock, seed and runner are arguments."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from workbench.cache.eviction import EVICTION
from workbench.cache.prefix import PrefixCache
from workbench.engine import logged
from workbench.engine.ahead import plan_ahead, with_draws
from workbench.engine.constrained import ConstrainedOutput
from workbench.engine.jump import JumpForward
from workbench.engine.limits import CoreConfig, check_request
from workbench.engine.output import Output, TextOut, aborted
from workbench.engine.picture_keys import PictureKeys
from workbench.engine.plan import LogitProcessor, Runner
from workbench.engine.scheduler import Propose, Scheduler
from workbench.engine.sequence import Sequence
from workbench.engine.step import Step
from workbench.errors import InvalidRequest, QueueFull, in_one_line
from workbench.events import EventLog
from workbench.grammar import Matcher
from workbench.types import FinishReason, Request, TokenOut

logger = logging.getLogger("workbench.engine")


class EngineCore:
    def __init__(
        self,
        config: CoreConfig,
        runner: Runner,
        *,
        log: EventLog | None = None,
        clock: Callable[[], float] = time.monotonic,
        text_for: Callable[[Request], TextOut | None] | None = None,
        jump: JumpForward | None = None,
        disable_jump_forward: bool = False,
        propose: Propose | None = None,
    ) -> None:
        """Takes the parts that differ between a notebook, a server and a test.

        `text_for` makes the text stream of a request; without one only token ids are produced.

        `jump` decodes and forces the text of constraints; with `disable_jump_forward` it only decodes. `propose` guesses
        tokens that a decode step verifies: outputs are the same with and without.
        """
        self.config = config
        self.runner = runner
        self.log = log if log is not None else EventLog()
        self.clock = clock
        self._text_for = text_for
        self._jump = jump
        self._is_jumping = not disable_jump_forward
        self.cache = PrefixCache(
            config.num_pages, config.page_size, EVICTION[config.eviction_policy], self.log, clock, config.disable_radix_cache
        )
        self.scheduler = Scheduler(config, self.cache, self.log, clock, propose)
        self._by_rid: dict[str, Sequence] = {}
        self._groups: dict[str, dict[str, Sequence]] = {}
        """Samples by their group and their own id."""
        self._finished: list[TokenOut] = []
        self._deadlines: dict[str, float] = {}
        self._next_id = 1
        self.pictures = PictureKeys()

    @property
    def has_work(self) -> bool:
        """True if `step` would do something now. Requests that are paused or wait for their constraint give it nothing to do."""
        can_plan = not self.scheduler.admission.is_paused and len(self._by_rid) > len(self.scheduler.compiling)
        return can_plan or bool(self._finished) or self.is_due

    @property
    def idle_s(self) -> float | None:
        """Seconds until the next request in a core without work times out; None if none will."""
        return max(min(self._deadlines.values()) - self.clock(), 0.0) if self._deadlines else None

    # -- doors --------------------------------------------------------------------------------------------------

    def add(
        self,
        request: Request,
        *,
        matcher: Matcher | None = None,
        processor: LogitProcessor | None = None,
        is_compiling: bool = False,
    ) -> None:
        """Queues a request, or raises an error that names the field, the value and the limit.

        `matcher` is the request's compiled constraint at its start, `processor` its custom logit processor. With
        `is_compiling` the request is not admitted before `supply` brings the matcher.
        """
        self.check_request(request)
        if request.rid in self._by_rid:
            raise InvalidRequest("rid", request.rid, "an id that is not in use")
        self.check_queue(len(self._by_rid))
        output = self._output(request, matcher, is_constrained=is_compiling or matcher is not None)
        arrived = self.clock()
        new_pictures = self.pictures.meet(request, arrived)
        seq = Sequence(self._next_id, request, arrived, output, self.pictures.tokens(request), processor)
        self._next_id += 1
        self._by_rid[request.rid] = seq
        if request.group:
            self._groups.setdefault(request.group, {})[request.rid] = seq
        if request.timeout_s is not None:
            self._deadlines[request.rid] = seq.arrived + request.timeout_s
        if self.log.on:
            for picture in new_pictures:
                self.log.add(picture)
            self.log.add(logged.arrived(seq, self.pictures.numbers(request)))
        self.scheduler.admission.enqueue(seq, is_compiling=is_compiling)
        if not is_compiling:
            self._begin(seq)

    def supply(self, rid: str, matcher: Matcher) -> None:
        """Brings the constraint of a request that was added while it was being compiled. Ignores ids that are gone."""
        seq = self._by_rid.get(rid)
        if seq is not None and seq in self.scheduler.compiling:
            assert isinstance(seq.output, ConstrainedOutput)
            seq.output.constrain(matcher)
            self.scheduler.admission.compiled(seq)
            self._begin(seq)

    def check_request(self, request: Request) -> None:
        """Raises an error if this engine can never serve the request. Reads only; safe to call from any thread."""
        check_request(self.config, request)

    def check_queue(self, num_open: int, num_new: int = 1) -> None:
        """Raises `QueueFull` if `num_new` more requests would not fit beside `num_open` unfinished ones. Reads only."""
        running, queued = self.config.max_running_requests, self.config.max_queued_requests
        if queued is not None and num_open + num_new > running + queued:
            raise QueueFull(
                f"{num_open} requests open, the limit: {running} running, {queued} queued (max_queued_requests)",
                hint="send it again later",
            )

    def abort(self, rid: str, message: str = "aborted by the caller") -> bool:
        """Ends a request, or every sample of a group; its pages are free before the next step. Returns False if there is none."""
        ending = {**self._groups.get(rid, {})}
        if (one := self._by_rid.get(rid)) is not None:
            ending[rid] = one
        for seq in ending.values():
            self._abort(seq, message)
        return bool(ending)

    def fail(self, rid: str, message: str) -> None:
        """Ends a request whose caller gets the reason in another way: there is no output of it."""
        if (seq := self._by_rid.get(rid)) is not None:
            self._finish(seq, aborted(message))

    def flush_cache(self) -> int:
        """Drops every cached prefix that no request uses. Returns the number of tokens dropped."""
        return self.cache.flush()

    def drop_kv(self) -> int:
        """Drops all K/V, which other weights have made: the cache is empty, and running requests compute their tokens again.

        Returns the number of tokens dropped.
        """
        self.scheduler.retract_all()
        return self.cache.flush()

    # -- the loop -----------------------------------------------------------------------------------------------

    def step(self) -> list[TokenOut]:
        """Plans, executes and commits one forward pass. Returns its outputs, and the last ones of requests that ended before."""
        step = self.begin()
        if step is None:
            return self.drain()
        self.execute(step)
        return self.finish(step)

    def begin(self) -> Step | None:
        """Plans a step. Returns None if there is nothing to compute. Changes: requests that are out of time end."""
        self._expire()
        if self.scheduler.admission.is_paused:
            return None
        started = self.clock()
        plan = self.scheduler.plan()
        return Step(plan, self.clock() - started, len(self.scheduler.waiting)) if plan.seqs else None

    def execute(self, step: Step) -> None:
        """Computes a step. Changes: `step` alone, so that another thread may plan and commit meanwhile."""
        started = self.clock()
        try:
            step.result = self.runner.execute(step.plan)
        except Exception as error:
            logger.exception("step %d failed", step.plan.step)
            step.failure = f"the forward pass failed: {in_one_line(error)}"
        step.execute_s = self.clock() - started

    def finish(self, step: Step, *, is_overlapped: bool = False) -> list[TokenOut]:
        """Commits a step that was executed. Returns what `step` does. `is_overlapped`: the next step is computed meanwhile."""
        if step.result is None:
            for planned in step.plan.seqs:  # nothing of the step was committed, other requests go on
                if (seq := self._by_rid.get(planned.rid)) is not None and seq.seq_id == planned.seq_id:
                    self._abort(seq, step.failure)
            return self.drain()
        started = self.clock()
        outcomes = self.scheduler.commit(step.plan, step.result)
        outs = [outcome.out for outcome in outcomes if outcome.out is not None]
        for out in outs:
            self._settle(out)
        if self.log.on:
            now, budget_left = self.clock(), self.scheduler.budget_left
            took_s = now - started
            self.log.add(logged.executed(step, outcomes, self.cache, budget_left, took_s, now, is_overlapped=is_overlapped))
        if self.config.check:
            self.cache.check()
        return [*self.drain(), *outs]

    def ahead(self, step: Step) -> Step | None:
        """Returns the step after one that is not committed yet, but for the tokens that this one draws; see `plan_ahead`."""
        started = self.clock()
        plan = plan_ahead(self.scheduler, step.plan)
        return None if plan is None else Step(plan, 0.0, 0, overlapped_s=self.clock() - started)

    def follow(self, step: Step, ahead: Step) -> bool:
        """Completes a step that was planned ahead with what `step` drew. Returns False where another must begin instead."""
        started = self.clock()
        plan = None if step.result is None or self.is_due else with_draws(ahead.plan, step.result, self.scheduler)
        if plan is None:
            return False
        ahead.plan, ahead.plan_s = plan, self.clock() - started
        return True

    @property
    def is_due(self) -> bool:
        """True if a request is out of time."""
        return self.idle_s == 0

    def drain(self) -> list[TokenOut]:
        """Returns the last outputs of requests that ended outside of steps. Changes: they are given out once."""
        finished, self._finished = self._finished, []
        return finished

    def _expire(self) -> None:
        if self._deadlines:
            now = self.clock()
            for seq in [self._by_rid[rid] for rid, deadline in self._deadlines.items() if now >= deadline]:
                self._abort(seq, f"timed out after {seq.request.timeout_s:g} s (timeout_s)")

    def _abort(self, seq: Sequence, message: str) -> None:
        """Ends one request, whose last output comes with the next ones."""
        tail = seq.output.abort(message, seq.output_ids)
        assert tail.finish is not None
        self._finish(seq, tail.finish)
        self._finished.append(TokenOut(rid=seq.rid, text=tail.text, num_cached=seq.num_reused, finish=tail.finish))

    def _output(self, request: Request, matcher: Matcher | None, *, is_constrained: bool) -> Output:
        text = None if self._text_for is None else self._text_for(request)
        if is_constrained:
            return ConstrainedOutput(request, self.config.eos_ids, text, matcher, self._jump, self._is_jumping)
        return Output(request, self.config.eos_ids, text)

    def _begin(self, seq: Sequence) -> None:
        matcher = seq.output.matcher
        if self.log.on and matcher is not None and (made := matcher.made) is not None:
            self.log.add(logged.compiled(seq, made, self.clock()))
        if (out := self.scheduler.begin(seq)) is not None:
            self._settle(out)
            self._finished.append(out)

    def _settle(self, out: TokenOut) -> None:
        """Changes: the request of a last output has ended."""
        if out.finish is not None:
            self._finish(self._by_rid[out.rid], out.finish)

    def _finish(self, seq: Sequence, reason: FinishReason) -> None:
        self.scheduler.vacate(seq)
        del self._by_rid[seq.rid]
        if group := seq.request.group:
            del self._groups[group][seq.rid]
            if not self._groups[group]:
                del self._groups[group]
        self._deadlines.pop(seq.rid, None)
        if self.log.on:
            self.log.add(logged.finished(seq, reason, self.clock()))
