"""The batch timeline as a value: which steps and requests are drawn, and where on an axis without idle time."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from workbench.escape import visible
from workbench.views.batch_html import batch_html
from workbench.views.batch_words import (
    REQUEST_HEAD,
    REQUEST_NUMERIC,
    STEP_HEAD,
    STEP_NUMERIC,
    request_row,
    says,
    step_row,
    waiting_for,
)
from workbench.views.parts import View, duration, lines, plural

if TYPE_CHECKING:
    from workbench.views.batch_facts import Life, Step, Stretch

MAX_LANES = 40
MAX_STRETCHES = 2500
"""Drawn in all, so that a message of a busy engine stays small."""
IDLE_SHARE = 0.015
"""A time in which no request was in the engine is drawn at most so wide, as a part of the rest."""


class Axis:
    """Times of the log -> seconds from 0, with each time in which nobody was there cut short."""

    def __init__(self, busy: Sequence[tuple[float, float]], start: float, end: float) -> None:
        self.start = start
        gaps, reached = [], start
        for begin, stop in sorted(busy):
            if begin > reached:
                gaps.append((reached, min(begin, end)))
            reached = max(reached, stop)
        if reached < end:
            gaps.append((reached, end))
        idle = sum(stop - begin for begin, stop in gaps)
        longest = IDLE_SHARE * max(end - start - idle, 1e-9)
        cuts = [(stop - begin - longest, stop) for begin, stop in gaps if stop - begin > longest]
        self._from = [stop - left_out for left_out, stop in cuts]
        self._left_out = [left_out for left_out, _ in cuts]
        self._before = list(accumulate(self._left_out, initial=0.0))
        self._settled = gaps[-1][1] if gaps else start
        """From here on nothing more is left out."""
        self.end = end
        self.length = self.at(end)

    def at(self, time: float) -> float:
        """What is left out of an idle time is all at one place."""
        time = min(max(time, self.start), self.end)
        if time >= self._settled:
            return time - self.start - self._before[-1]
        i = bisect_right(self._from, time) - 1
        left_out = 0.0 if i < 0 else self._before[i] + min(self._left_out[i], time - self._from[i])
        return time - self.start - left_out

    @property
    def breaks(self) -> list[tuple[float, float]]:
        """(place, seconds left out there)."""
        return [(self.at(where), left_out) for where, left_out in zip(self._from, self._left_out, strict=True)]


@dataclass(frozen=True, repr=False)
class BatchPicture(View):
    """`lanes` are the requests whose life overlaps the steps shown, in order of arrival."""

    steps: tuple[Step, ...]
    lanes: tuple[Life, ...]
    phases: Mapping[str, int]
    """How many are waiting, running, ended in the time shown, drawn or not."""
    axis: Axis
    now: float

    @classmethod
    def of(cls, steps: Sequence[Step], lives: Sequence[Life], now: float) -> BatchPicture:
        """`lives` in order of arrival. The axis begins with the steps, or with the first wait where no step was left out."""
        first = steps[0].number if steps else 0
        is_cut = any(0 < part.first_step < first for life in lives for part in life.stretches)
        begins = [step.start for step in steps[:1]] + ([] if is_cut else [life.arrived for life in lives])
        start = min(begins, default=now)
        inside = [life for life in lives if life.arrived <= now and (life.ended is None or life.ended >= start)]
        lanes: list[Life] = []
        num_stretches = 0
        for life in sorted(inside, key=lambda life: (life.phase != "ended", life.ended or life.arrived), reverse=True):
            num_stretches += len(life.stretches)
            if len(lanes) == MAX_LANES or (lanes and num_stretches > MAX_STRETCHES):
                break
            lanes.append(life)
        kept = {id(life) for life in lanes}
        busy = [(life.arrived, now if life.ended is None else life.ended) for life in inside]
        busy += [(step.start, step.end) for step in steps]
        in_order = tuple(life for life in inside if id(life) in kept)
        return cls(tuple(steps), in_order, Counter(life.phase for life in inside), Axis(busy, start, max(now, start)), now)

    def step(self, number: int) -> Step | None:
        """The step of this number, if it is shown."""
        return next((step for step in self.steps if step.number == number), None)

    def request(self, rid: str) -> Life | None:
        """The request's life, if it is shown."""
        return next((life for life in self.lanes if life.rid == rid), None)

    def steps_of(self, rid: str) -> list[Step]:
        """The steps shown that it was in."""
        return [step for step in self.steps if rid in step.rids]

    @property
    def num_more(self) -> int:
        """Requests that there was no room for."""
        return sum(self.phases.values()) - len(self.lanes)

    def drawn(self, life: Life) -> list[Stretch]:
        """Those that overlap the axis."""
        return [part for part in life.stretches if part.end is None or part.end >= self.axis.start]

    def ends(self, part: Stretch) -> tuple[float, float]:
        """Places where it begins and ends."""
        return self.axis.at(part.start), self.axis.at(self.now if part.end is None else part.end)

    @property
    def waiting(self) -> list[tuple[str, str, str]]:
        """(request, since, what for) of those in the queue."""
        queue = (life for life in self.lanes if life.phase == "waiting")
        return [(life.rid, duration(self.now - life.stretches[-1].start), waiting_for(life)) for life in queue]

    @property
    def title(self) -> str:
        if not self.steps:
            return "Batch: no step yet"
        first, last = self.steps[0].number, self.steps[-1].number
        counts = ", ".join(f"{self.phases.get(phase, 0):,} {phase}" for phase in ("running", "waiting", "ended"))
        more = f", {plural(self.num_more, 'request')} not shown" if self.num_more else ""
        steps = f"steps {first:,} to {last:,}" if first < last else f"step {first:,}"
        return f"Batch, {steps}, {duration(self.axis.length)}: {counts}{more}"

    def to_text(self) -> str:
        rows = [request_row(life, self.now) for life in self.lanes]
        parts = [visible(self.title), lines(REQUEST_HEAD, rows, numeric=REQUEST_NUMERIC) if rows else ""]
        waiting = [f"{visible(rid)} waits for {visible(why)}" for rid, _, why in self.waiting]
        steps = lines(STEP_HEAD, [step_row(step) for step in self.steps[-12:]], numeric=STEP_NUMERIC) if self.steps else ""
        return "\n\n".join(part for part in (*parts, "\n".join(waiting), steps) if part)

    def body(self) -> str:
        return batch_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Places in microseconds on the axis; `steps` and stretches as columns, which are short to send."""
        steps = self.steps
        return {
            "title": self.title, "length": _us(self.axis.length), "more": self.num_more,
            "breaks": [[_us(place), round(left_out, 3)] for place, left_out in self.axis.breaks],
            "steps": {
                "number": [step.number for step in steps],
                "start": [_us(self.axis.at(step.start)) for step in steps],
                "end": [_us(self.axis.at(step.end)) for step in steps],
                "prefill": [step.num_prefill for step in steps],
                "decode": [step.num_decode for step in steps],
                "reused": [step.num_reused for step in steps],
                "left": [step.budget_left for step in steps],
                "waiting": [step.num_waiting for step in steps],
            },
            "lanes": [self._lane(life) for life in self.lanes],
            "queue": [list(row) for row in self.waiting], "waiting": self.phases.get("waiting", 0),
        }  # fmt: skip

    def _lane(self, life: Life) -> dict[str, Any]:
        parts = self.drawn(life)
        ends = [self.ends(part) for part in parts]
        return {
            "rid": life.rid, "phase": life.phase, "says": says(life, self.now), "out": life.num_output,
            "kind": [part.kind for part in parts],
            "start": [_us(start) for start, _ in ends],
            "end": [_us(end) for _, end in ends],
            "first": [part.first_step for part in parts],
            "last": [part.last_step for part in parts],
            "tokens": [part.num_tokens for part in parts],
            "note": [part.note for part in parts],
        }  # fmt: skip


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
