"""Drawn part of the batch timeline: the requests in it, on an axis without idle time, and their rows as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from workbench.html.parts import duration
from workbench.views.advice import Advice
from workbench.views.batch.state import DrawnStep, Life
from workbench.views.batch.words import says, waiting_for

MAX_LANES = 40
MAX_STRETCHES = 2500
"""Stretches drawn in all, so that a message of a busy engine stays small."""
SAID_S = 1.0
"""Seconds between two sentences about a request that lives: the engine waits while one is made."""
IDLE_SHARE = 0.015
"""Most width of a time without any request, as a share of the rest."""


class Axis:
    """Maps times of the log to seconds from 0, with each idle time cut short."""

    def __init__(self, idle: Iterable[tuple[float, float]], start: float, end: float) -> None:
        """Makes the axis of a time. `idle` are the times without any request: from and until, in order."""
        self.start, self.end = start, end
        gaps = [(max(begin, start), min(stop, end)) for begin, stop in idle if begin < end and stop > start]
        longest = IDLE_SHARE * max(end - start - sum(stop - begin for begin, stop in gaps), 1e-9)
        self.cuts = [(begin + longest, stop - begin - longest) for begin, stop in gaps if stop - begin > longest]
        """Times left out: (from when, seconds)."""
        self.length = self.at(end)

    def at(self, time: float) -> float:
        """Returns the place of a time. All that is left out of an idle time has one place."""
        time = min(max(time, self.start), self.end)
        return time - self.start - sum(min(left_out, time - since) for since, left_out in self.cuts if time > since)

    @property
    def breaks(self) -> list[tuple[float, float]]:
        """Places where time is left out: (place, seconds)."""
        return [(self.at(since), left_out) for since, left_out in self.cuts]


@dataclass(frozen=True)
class Shown:
    """The requests that are drawn, and their axis. Without room for all, these are the running and the latest requests, or
    after `skip` of them the ones before."""

    lanes: tuple[Life, ...]
    """Requests in order of arrival."""
    phases: Mapping[str, int]
    """Numbers of waiting, running and ended requests in the time shown, drawn or not."""
    axis: Axis
    now: float
    skip: int = 0

    @classmethod
    def of(cls, present: Sequence[Life], ended: Iterable[Life], axis: Axis, now: float, skip: int = 0) -> Shown:
        """Chooses among the `present` requests, in order of arrival, and the `ended` ones, the latest first."""
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
        """Number of requests in the time shown, drawn or not."""
        return sum(self.phases.values())

    @property
    def num_more(self) -> int:
        """Number of requests without room."""
        return self.num_all - len(self.lanes)

    def others(self, advice: Advice) -> str:
        """Describes which requests are drawn, and how to see the others; "" where all are drawn."""
        if not self.num_more:
            return ""
        last = self.skip + len(self.lanes)
        skip = last if last < self.num_all else 0
        drawn = f"Requests {self.skip + bool(self.lanes):,} to {last:,} of {self.num_all:,}, the latest being number 1"
        return f"{drawn}. {'Those before them' if skip else 'The latest'}: {advice.skips.format(skip)}"

    @property
    def waiting(self) -> list[tuple[str, str, str]]:
        """Requests in the queue: (request, since when it waits, what for)."""
        queue = (life for life in self.lanes if life.phase == "waiting")
        return [(life.rid, duration(self.now - life.stretches[-1].start), waiting_for(life)) for life in queue]

    def title(self, numbers: Sequence[int]) -> str:
        """Returns the title of a picture of the steps with these numbers."""
        if not numbers:
            return "Batch: no step yet"
        counts = ", ".join(f"{self.phases.get(phase, 0):,} {phase}" for phase in ("running", "waiting", "ended"))
        more = f"; {len(self.lanes):,} of them shown" if self.num_more else ""
        steps = f"steps {numbers[0]:,} to {numbers[-1]:,}" if len(numbers) > 1 else f"step {numbers[0]:,}"
        return f"Batch, {steps}, {duration(self.axis.length)}: {counts}{more}"

    def to_dict(self, steps: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        """Returns what is drawn as JSON. `steps` are the `COLUMNS`; columns are short to send. Times are microseconds of the log;
        `breaks` holds from when and how much the axis leaves out."""
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


COLUMNS = ("number", "start", "end", "prefill", "decode", "reused", "left", "waiting", "pictured")


def row_of(step: DrawnStep) -> tuple[int, ...]:
    """Returns a step's values in the order of `COLUMNS`."""
    counts = (step.num_prefill, step.num_decode, step.num_reused, step.budget_left, step.num_waiting, step.num_pictured)
    return (step.number, as_us(step.start), as_us(step.end), *counts)


def _lane(life: Life, now: float) -> dict[str, Any]:
    """Returns the row of a request as JSON, made once after it has ended. Changes `lane` and `said` of the life."""
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
