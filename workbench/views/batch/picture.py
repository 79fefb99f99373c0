"""The batch timeline as a value: which steps and requests are drawn, and where on an axis without idle time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from workbench.html.escape import visible
from workbench.html.parts import View, duration, lines
from workbench.views.batch.html import batch_html
from workbench.views.batch.words import (
    REQUEST_HEAD,
    REQUEST_NUMERIC,
    STEP_HEAD,
    STEP_NUMERIC,
    request_row,
    says,
    step_row,
    waiting_for,
)

if TYPE_CHECKING:
    from workbench.views.batch.facts import Life, Step, Stretch

MAX_LANES = 40
MAX_STRETCHES = 2500
"""Drawn in all, so that a message of a busy engine stays small."""
SAID_S = 1.0
"""Words about a request that lives are made anew no sooner: nobody reads faster, and an engine waits for them."""
IDLE_SHARE = 0.015
"""A time in which no request was in the engine is drawn at most so wide, as a part of the rest."""


class Axis:
    """Times of the log -> seconds from 0, with each time in which nobody was there cut short."""

    def __init__(self, idle: Iterable[tuple[float, float]], start: float, end: float) -> None:
        """`idle` are those times: from and until, in order."""
        self.start, self.end = start, end
        gaps = [(max(begin, start), min(stop, end)) for begin, stop in idle if begin < end and stop > start]
        longest = IDLE_SHARE * max(end - start - sum(stop - begin for begin, stop in gaps), 1e-9)
        self.cuts = [(begin + longest, stop - begin - longest) for begin, stop in gaps if stop - begin > longest]
        """(from when, seconds left out)."""
        self.length = self.at(end)

    def at(self, time: float) -> float:
        """What is left out of an idle time is all at one place."""
        time = min(max(time, self.start), self.end)
        return time - self.start - sum(min(left_out, time - since) for since, left_out in self.cuts if time > since)

    @property
    def breaks(self) -> list[tuple[float, float]]:
        """(place, seconds left out there)."""
        return [(self.at(since), left_out) for since, left_out in self.cuts]


@dataclass(frozen=True)
class Shown:
    """Which requests are drawn, and on which axis. `lanes` are in order of arrival; without room for all those that run and
    the latest, or as many further back as `skip` says."""

    lanes: tuple[Life, ...]
    phases: Mapping[str, int]
    """How many are waiting, running, ended in the time shown, drawn or not."""
    axis: Axis
    now: float
    skip: int = 0

    @classmethod
    def of(cls, present: Sequence[Life], ended: Iterable[Life], axis: Axis, now: float, skip: int = 0) -> Shown:
        """`present` in order of arrival; `ended` the latest first."""
        phases: Counter[str] = Counter(life.phase for life in present)
        lanes: list[Life] = []
        num_stretches = 0
        for place, life in enumerate(chain(reversed(present), ended)):
            phases["ended"] += life.phase == "ended"
            if place < skip:
                continue
            num_stretches += len(life.stretches)
            if len(lanes) < MAX_LANES and (not lanes or num_stretches <= MAX_STRETCHES):
                lanes.append(life)
        return cls(tuple(sorted(lanes, key=lambda life: life.number)), phases, axis, now, skip)

    @property
    def num_all(self) -> int:
        """Requests of the time shown, drawn or not."""
        return sum(self.phases.values())

    @property
    def num_more(self) -> int:
        """Requests that there was no room for."""
        return self.num_all - len(self.lanes)

    def others(self, *, by_magic: bool) -> str:
        """How one sees the requests that there was no room for."""
        if not self.num_more:
            return ""
        last = self.skip + len(self.lanes)
        skip = last if last < self.num_all else 0
        more = f"%wb batch --skip {skip}" if by_magic else f'engine.view("batch", skip={skip})'
        drawn = f"Requests {self.skip + bool(self.lanes):,} to {last:,} of {self.num_all:,}, the latest being number 1"
        return f"{drawn}. {'Those before them' if skip else 'The latest'}: {more}"

    @property
    def waiting(self) -> list[tuple[str, str, str]]:
        """(request, since, what for) of those in the queue."""
        queue = (life for life in self.lanes if life.phase == "waiting")
        return [(life.rid, duration(self.now - life.stretches[-1].start), waiting_for(life)) for life in queue]

    def title(self, numbers: Sequence[int]) -> str:
        """Over the steps of these numbers."""
        if not numbers:
            return "Batch: no step yet"
        counts = ", ".join(f"{self.phases.get(phase, 0):,} {phase}" for phase in ("running", "waiting", "ended"))
        more = f"; {len(self.lanes):,} of them shown" if self.num_more else ""
        steps = f"steps {numbers[0]:,} to {numbers[-1]:,}" if len(numbers) > 1 else f"step {numbers[0]:,}"
        return f"Batch, {steps}, {duration(self.axis.length)}: {counts}{more}"

    def to_dict(self, steps: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        """`steps` are the `COLUMNS`; those and stretches are short to send as columns. Times in microseconds of the log; in
        `breaks`, from when and how much the axis leaves out."""
        axis = self.axis
        return {
            "title": self.title(steps["number"]), "start": as_us(axis.start), "end": as_us(axis.end),
            "skip": self.skip, "all": self.num_all,
            "breaks": [[as_us(since), as_us(left_out)] for since, left_out in axis.cuts],
            "steps": steps, "lanes": [_lane(life, self.now) for life in self.lanes],
            "queue": [list(row) for row in self.waiting], "waiting": self.phases.get("waiting", 0),
        }  # fmt: skip


def as_us(seconds: float) -> int:
    return round(seconds * 1e6)


COLUMNS = ("number", "start", "end", "prefill", "decode", "reused", "left", "waiting")


def row_of(step: Step) -> tuple[int, ...]:
    """A step in `COLUMNS`."""
    counts = (step.num_prefill, step.num_decode, step.num_reused, step.budget_left, step.num_waiting)
    return (step.number, as_us(step.start), as_us(step.end), *counts)


def _lane(life: Life, now: float) -> dict[str, Any]:
    """Of one that has ended, made once. Changes: `lane` and `said` of the life."""
    if life.lane is not None:
        return life.lane
    parts = life.stretches
    if life.phase == "ended" or life.said is None or now - life.said[0] > SAID_S:
        life.said = (now, says(life, now))
    lane = {
        "rid": life.rid, "prompt": life.prompt, "phase": life.phase, "says": life.said[1], "out": life.num_output,
        "kind": [part.kind for part in parts],
        "start": [as_us(part.start) for part in parts],
        "end": [as_us(now if part.end is None else part.end) for part in parts],
        "first": [part.first_step for part in parts],
        "last": [part.last_step for part in parts],
        "tokens": [part.num_tokens for part in parts],
        "note": [part.note for part in parts],
    }  # fmt: skip
    if life.phase == "ended":
        life.lane = lane
    return lane


@dataclass(frozen=True, repr=False)
class BatchPicture(View):
    """The steps and, on the same axis, the requests whose life overlaps them."""

    steps: tuple[Step, ...]
    shown: Shown
    empty: str = ""
    """While there is nothing to draw: that, and what one types to change it."""
    others: str = ""
    """How one sees requests for which there was no room."""

    @property
    def lanes(self) -> tuple[Life, ...]:
        return self.shown.lanes

    @property
    def axis(self) -> Axis:
        return self.shown.axis

    @property
    def now(self) -> float:
        return self.shown.now

    def step(self, number: int) -> Step | None:
        """The step of this number, if it is shown."""
        return next((step for step in self.steps if step.number == number), None)

    def request(self, rid: str) -> Life | None:
        """The request's life, if it is shown."""
        return next((life for life in self.lanes if life.rid == rid), None)

    def steps_of(self, rid: str) -> list[Step]:
        """The steps shown that it was in."""
        return [step for step in self.steps if rid in step.rids]

    def drawn(self, life: Life) -> list[Stretch]:
        """Those that overlap the axis."""
        return [part for part in life.stretches if part.end is None or part.end >= self.axis.start]

    def ends(self, part: Stretch) -> tuple[float, float]:
        """Places where it begins and ends."""
        return self.axis.at(part.start), self.axis.at(self.now if part.end is None else part.end)

    @property
    def waiting(self) -> list[tuple[str, str, str]]:
        return self.shown.waiting

    @property
    def title(self) -> str:
        return self.shown.title([step.number for step in self.steps])

    def to_text(self) -> str:
        rows = [request_row(life, self.now) for life in self.lanes]
        requests = lines(REQUEST_HEAD, rows, numeric=REQUEST_NUMERIC) if rows else ""
        parts = [visible(self.title), visible(self.empty), visible(self.others), requests]
        waiting = [f"{visible(rid)} waits for {visible(why)}" for rid, _, why in self.waiting]
        steps = lines(STEP_HEAD, [step_row(step) for step in self.steps[-12:]], numeric=STEP_NUMERIC) if self.steps else ""
        return "\n\n".join(part for part in (*parts, "\n".join(waiting), steps) if part)

    def body(self) -> str:
        return batch_html(self)

    def to_dict(self) -> dict[str, Any]:
        rows = [row_of(step) for step in self.steps]
        return self.shown.to_dict({name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)})
