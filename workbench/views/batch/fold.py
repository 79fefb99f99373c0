"""The batch as a fold over the event log: what the engine did step by step, and how each request fared."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice, takewhile
from typing import Any

from msgspec import structs

from workbench.checks import as_int
from workbench.errors import InvalidRequest
from workbench.events import (
    Event,
    PrefixMatched,
    RequestArrived,
    RequestFinished,
    RequestRetracted,
    RequestScheduled,
    RequestWaiting,
    SnapshotTaken,
    StepExecuted,
    TokenSampled,
)
from workbench.views.batch.drawn import COLUMNS, Axis, Shown, row_of
from workbench.views.batch.picture import BatchPicture
from workbench.views.batch.state import DrawnStep, Life, Stretch
from workbench.views.batch.words import SEES, about_step, one_line, says
from workbench.views.fold import Facts, Fold, Handlers
from workbench.why.request.waits import waits_for

MAX_STEPS = 4000
MAX_SHOWN = 500
MAX_ENDED = 400
"""Ended requests that are kept."""


class BatchFold(Fold[BatchPicture]):
    """`step(812)`, `request("r3")` and `waiting` are what the picture is made of.

    `steps` is the number of steps that it shows. Where requests outnumber the rows, it shows those that run and the latest;
    `skip` leaves out that many of these.
    """

    keeps_history = True
    sees = SEES

    def __init__(self, facts: Facts | None = None, steps: int = 160, skip: int = 0) -> None:
        super().__init__(facts)
        self.num_shown = as_int("steps", steps)
        if not 0 < self.num_shown <= MAX_SHOWN:
            raise InvalidRequest("steps", steps, f"a number from 1 to {MAX_SHOWN}")
        self.skip = as_int("skip", skip)
        if self.skip < 0:
            raise InvalidRequest("skip", skip, "a number of requests, 0 or more")
        self.now = 0.0
        """Time of the latest event."""
        self.num_steps = 0
        self._steps: deque[DrawnStep] = deque(maxlen=MAX_STEPS)
        self._rows = array("q")
        """`row_of` of the last steps, one after the other: a picture that is drawn ten times a second needs no objects."""
        self._lives: dict[str, Life] = {}
        """All requests in order of arrival; `_present` are those that have not ended, in the same order."""
        self._present: dict[str, Life] = {}
        self._ended: deque[Life] = deque()
        self._num_arrived = 0
        self._idle: deque[tuple[float, float]] = deque(maxlen=MAX_STEPS)
        """Times without any request: from and until."""
        self._idle_since: float | None = None
        self._admitted: list[tuple[str, int]] = []
        self._retracted: list[str] = []
        self._known: set[str] = set()
        """Requests of the snapshot that is being read whose lives are known from events before it."""

    # -- folding ------------------------------------------------------------------------------------------------

    def handlers(self) -> Handlers:
        concerns = self._concerns
        return {
            StepExecuted: self._executed, TokenSampled: self._sampled, RequestArrived: self._arrived,
            SnapshotTaken: self._snapshot, PrefixMatched: concerns, RequestWaiting: concerns, RequestScheduled: concerns,
            RequestRetracted: concerns, RequestFinished: concerns,
        }  # fmt: skip

    def apply_present(self, event: Event) -> None:
        rid = getattr(event, "rid", "")
        if isinstance(event, RequestArrived) and (life := self._lives.get(rid)) is not None and life.phase != "ended":
            self._known.add(rid)
        if rid not in self._known:
            self.apply(event)

    def _sampled(self, event: TokenSampled) -> None:
        if (life := self._lives.get(event.rid)) is not None:
            life.num_output, life.lane = event.position + 1, None
        self.now = max(self.now, event.time)

    def _snapshot(self, event: SnapshotTaken) -> None:
        """Drops the admissions: a snapshot reports every running request as scheduled, and these are not new."""
        self._admitted.clear()
        self._known.clear()
        self.now = max(self.now, event.time)

    def _concerns(self, event: Any) -> None:
        if (life := self._lives.get(event.rid)) is not None:
            life.lane = life.said = None
            self._changed(life, event)
        self.now = max(self.now, event.time)

    def _arrived(self, event: RequestArrived) -> None:
        self._lives.pop(event.rid, None)  # an id may be used again once its request has ended
        self._present.pop(event.rid, None)
        life = Life(
            event.rid, event.time, event.num_prompt, event.max_new_tokens, number=self._num_arrived, first_ids=event.first_ids,
            origin=event.origin,
        )  # fmt: skip
        life.begin(Stretch("wait", event.time, None))
        self._num_arrived += 1
        if not self._present:
            self._is_busy_from(event.time)
        self._lives[event.rid] = self._present[event.rid] = life
        self.now = max(self.now, event.time)

    def _changed(self, life: Life, event: Event) -> None:
        match event:
            case PrefixMatched():
                life.num_cached, life.cache_reason = event.num_cached, event.reason
                if event.num_cached and event.asked:  # other prompts begin with the same
                    life.first_ids, life.is_parted, life.prompt = event.asked, True, ""
            case RequestWaiting():
                self._waits(life, event)
            case RequestScheduled():
                life.phase, life.waits_for, life.blocked_by, life.in_step = "running", "", "", self.num_steps - 1
                life.end_stretch(event.time)
                self._admitted.append((life.rid, event.num_cached))
            case RequestRetracted():
                self._retract(life, event)
            case RequestFinished():
                life.ended, life.num_output, life.waits_for = event.time, event.num_output, ""
                life.finish = event.reason + (f": {event.detail}" if event.detail else "")
                if life.phase == "running":
                    life.pause(self.num_steps, event.time)
                life.end_stretch(event.time)
                self._end(life, event.time)

    def _retract(self, life: Life, event: RequestRetracted) -> None:
        life.pause(self.num_steps, event.time)
        life.phase, life.num_lost = "waiting", life.num_lost + event.num_lost
        life.num_retractions += 1
        note = f"retracted: {event.cause}, {event.num_lost} tokens given up"
        life.begin(Stretch("wait", event.time, None, note=note))
        self._retracted.append(life.rid)

    def _is_busy_from(self, time: float) -> None:
        if self._idle_since is not None and time > self._idle_since:
            self._idle.append((self._idle_since, time))

    def _end(self, life: Life, time: float) -> None:
        if self._present.pop(life.rid, None) is None:
            return
        life.phase = "ended"
        if not self._present:
            self._idle_since = time
        self._ended.append(life)
        while len(self._ended) > MAX_ENDED:
            old = self._ended.popleft()
            if self._lives.get(old.rid) is old:
                del self._lives[old.rid]

    def _waits(self, life: Life, event: RequestWaiting) -> None:
        reason = waits_for(event.reason, event.blocked_by, event.num_needed, event.num_available)
        life.blocked_by = event.blocked_by
        life.wait("compile" if event.reason == "compiling" else "wait", reason, event.time)

    def _executed(self, event: StepExecuted) -> None:
        start = event.time - event.plan_s - event.execute_s - event.commit_s
        num_prefill = sum(member.num_new for member in event.members if member.kind == "prefill")
        num_decode = sum(member.num_new for member in event.members) - num_prefill
        step = DrawnStep(
            event.step, start, event.time, event.plan_s, event.execute_s, event.commit_s, event.members, num_prefill, num_decode,
            sum(member.num_pictured for member in event.members),
            sum(num_cached for _, num_cached in self._admitted), event.budget_left, event.num_waiting,
            tuple(rid for rid, _ in self._admitted), tuple(self._retracted),
        )  # fmt: skip
        self._steps.append(step)
        self._rows.extend(row_of(step))
        if len(self._rows) > 2 * MAX_SHOWN * len(COLUMNS):
            del self._rows[: MAX_SHOWN * len(COLUMNS)]
        if not self._present:
            self._is_busy_from(start)
            self._idle_since = event.time if self._idle_since is None else max(self._idle_since, event.time)
        for member in event.members:
            if (life := self._lives.get(member.rid)) is not None:
                life.work(member, step, self.num_steps)
        self.num_steps += 1
        self.now = max(self.now, event.time)
        self._admitted, self._retracted = [], []

    # -- questions ----------------------------------------------------------------------------------------------

    def step(self, number: int) -> DrawnStep | None:
        """Returns the step of this number; None where it is unknown or forgotten."""
        return next((step for step in reversed(self._steps) if step.number == number), None)

    def request(self, rid: str) -> Life | None:
        """Returns the request's life; None where it is unknown or forgotten."""
        return self._lives.get(rid)

    @property
    def steps(self) -> list[DrawnStep]:
        return list(self._steps)

    @property
    def requests(self) -> list[Life]:
        """All requests that are kept, in order of arrival."""
        return list(self._lives.values())

    @property
    def waiting(self) -> list[Life]:
        return [life for life in self._present.values() if life.phase == "waiting"]

    @property
    def running(self) -> list[Life]:
        return [life for life in self._present.values() if life.phase == "running"]

    def together(self, rid: str, other: str) -> list[int]:
        """Returns the numbers of the steps that both requests were in."""
        return [step.number for step in self._steps if {rid, other} <= set(step.rids)]

    # -- pictures -----------------------------------------------------------------------------------------------

    @property
    def empty(self) -> str:
        return "" if self._steps or self._lives else f"No request has come yet: {self.facts.advice.begins}"

    def picture(self) -> BatchPicture:
        steps = tuple(islice(reversed(self._steps), self.num_shown))[::-1]
        shown = self._shown()
        lanes = tuple(life.copy() for life in shown.lanes)
        return BatchPicture(steps, replace(shown, lanes=lanes), self.empty, shown.others(self.facts.advice))

    def state(self) -> dict[str, Any]:
        width = len(COLUMNS)
        rows = self._rows[-self.num_shown * width :]
        return self._shown().to_dict({name: rows[i::width].tolist() for i, name in enumerate(COLUMNS)})

    def _shown(self) -> Shown:
        """Chooses the requests and the axis, which begins with the steps, or with the first wait where no step is left out."""
        begins = [self._steps[-min(self.num_shown, len(self._steps))].start] if self._steps else []
        if self.num_steps <= self.num_shown:
            begins += [life.arrived for life in self._lives.values()]
        start = min(begins, default=self.now)
        idle = [*self._idle] if self._present or self._idle_since is None else [*self._idle, (self._idle_since, self.now)]
        ended = (life for life in reversed(self._ended) if self._lives.get(life.rid) is life)  # its id may be in use again
        inside = takewhile(lambda life: (life.ended or 0.0) >= start, ended)
        axis = Axis(idle, start, max(self.now, start))
        present = [life.with_pause(self.num_steps) for life in self._present.values()]
        shown = Shown.of(present, inside, axis, self.now, self.skip)
        for life in shown.lanes:
            if not life.prompt:
                words = one_line(self.facts.plain(life.first_ids))
                life.prompt = self._lives[life.rid].prompt = "…" * life.is_parted + words
        return shown

    def detail(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a sentence about {"kind": "step" or "request", "id": ...}, and its parts."""
        kind, name = asked.get("kind"), asked.get("id")
        if kind == "step" and isinstance(name, int) and (step := self.step(name)) is not None:
            return {"says": about_step(step), "step": _as_dict(step)}
        if kind == "request" and (life := self.request(str(name))) is not None:
            return {"says": says(life, self.now), "request": life.to_dict()}
        raise InvalidRequest(str(kind), name, "a step or a request that is remembered")


def _as_dict(step: DrawnStep) -> dict[str, Any]:
    return structs.asdict(step) | {"members": [structs.asdict(member) for member in step.members]}
