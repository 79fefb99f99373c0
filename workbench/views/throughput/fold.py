"""Throughput as a fold over the event log: rates, queue, cache hits, memory and the recompute tax of the last seconds."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from itertools import accumulate
from typing import Any

from workbench.errors import InvalidRequest
from workbench.events import (
    BandwidthMeasured,
    Event,
    PrefixMatched,
    RequestArrived,
    RequestFinished,
    RequestRetracted,
    RequestScheduled,
    SnapshotTaken,
    StepExecuted,
    TokenSampled,
)
from workbench.views.fold import Facts, Fold, Handlers
from workbench.views.reads import DecodeReads
from workbench.views.throughput.picture import SEES, ThroughputPicture, facts_of, title_of
from workbench.views.throughput.state import GAUGES, Point, Totals

NUM_POINTS = 240
RATE_S = 1.0
"""Seconds over which a rate is the mean."""


class ThroughputFold(Fold[ThroughputPicture]):
    """The last `window` seconds in at most `NUM_POINTS` points, and the totals."""

    keeps_history = True
    sees = SEES

    def __init__(self, facts: Facts | None = None, window: float = 60.0) -> None:
        super().__init__(facts)
        if not isinstance(window, int | float) or not 0 < window < math.inf:
            raise InvalidRequest("window", window, "a number of seconds above 0")
        self.width_s = window / NUM_POINTS
        self.totals = Totals()
        self._points: deque[Point] = deque(maxlen=NUM_POINTS)
        self._waiting: set[str] = set()
        self._running: set[str] = set()
        self._computed: dict[str, int] = {}
        """Tokens that each retracted request had computed."""
        self._ended: list[str] = []
        self._reads = DecodeReads(self.facts.info)
        self._bandwidth: float | None = None
        self._pages: tuple[int, int, int] | None = None
        """Numbers of free pages, of pages in the tree, and of requests' own pages."""

    def handlers(self) -> Handlers:
        changed = self._changed
        return {
            TokenSampled: self._sampled, StepExecuted: self._executed, RequestArrived: changed, PrefixMatched: changed,
            RequestScheduled: changed, RequestRetracted: changed, RequestFinished: changed, SnapshotTaken: self._snapshot,
            BandwidthMeasured: self._measured,
        }  # fmt: skip

    def apply_present(self, event: Event) -> None:
        if not isinstance(event, TokenSampled):  # a snapshot does not hold when tokens were sampled
            self.apply(event)

    def _snapshot(self, event: SnapshotTaken) -> None:
        self._pages = (event.pages_free, event.pages_tree, event.pages_owned)
        self._at(event.time).gauges = self._gauges()

    def _measured(self, event: BandwidthMeasured) -> None:
        self._bandwidth = event.bytes_per_s

    def _sampled(self, event: TokenSampled) -> None:
        self.totals.output += 1
        self._at(event.time).output += 1

    def _changed(self, event: Event) -> None:
        totals = self.totals
        match event:
            case RequestArrived():
                self._waiting.add(event.rid)
                self._computed.pop(event.rid, None)
            case PrefixMatched():
                totals.prompt += event.num_prompt
                totals.cached += event.num_cached
            case RequestScheduled():
                self._waiting.discard(event.rid)
                self._running.add(event.rid)
            case RequestRetracted():
                self._running.discard(event.rid)
                self._waiting.add(event.rid)
                self._computed[event.rid] = max(event.num_lost, self._computed.get(event.rid, 0))
                totals.num_retractions += 1
            case RequestFinished():
                self._waiting.discard(event.rid)
                self._running.discard(event.rid)
                self._ended.append(event.rid)  # the event of its last step comes after this one
                totals.num_finished += 1
        self._at(event.time).gauges = self._gauges()

    def _executed(self, event: StepExecuted) -> None:
        totals, point = self.totals, self._at(event.time)
        self._reads.add(event)
        totals.num_steps += 1
        totals.step_s += event.plan_s + event.execute_s + event.commit_s
        self._pages = (event.pages_free, event.pages_tree, event.pages_owned)
        for member in event.members:
            totals.computed += member.num_new
            before = min(self._computed.get(member.rid, 0), member.num_cached + member.num_new)
            totals.recomputed += max(before - member.num_cached, 0)
            if member.kind == "prefill":
                point.computed += member.num_new
        for rid in self._ended:
            self._computed.pop(rid, None)
        self._ended.clear()
        point.gauges, point.last_step = self._gauges(), event.step

    def _at(self, time: float) -> Point:
        """Returns the point of a time. A time a little before the last point, from another thread, counts to that."""
        index = int(time / self.width_s)
        if not self._points or index > self._points[-1].index:
            last_step = self._points[-1].last_step if self._points else 0
            self._points.append(Point(index, gauges=self._gauges(), last_step=last_step))
        return self._points[-1]

    def _gauges(self) -> tuple[float | None, ...]:
        free, tree, owned = self._pages or (None, None, None)
        hit_rate, tax = self.totals.hit_rate, self.totals.recompute_tax
        hit_rate = None if hit_rate is None else round(hit_rate, 4)
        return len(self._running), len(self._waiting), owned, tree, free, hit_rate, round(tax, 4)

    def series(self) -> dict[str, list[Any]]:
        """Returns the window as columns. Rates are means over the last second; without events, gauges stay as they were."""
        names = ("output", "prefill", *GAUGES)
        rows: list[tuple[Any, ...]] = []
        first = self._first()
        for point in self._points:
            if point.index >= first:
                while len(rows) < point.index - first:
                    rows.append((0, 0, *rows[-1][2:]))
                rows.append((point.output, point.computed, *point.gauges))
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) if rows else {name: [] for name in names}
        rates = {name: self._rates(columns[name]) for name in ("output", "prefill")}
        return {"t": [(i + 1) * self.width_s for i in range(len(rows))], **columns, **rates}

    def _first(self) -> int:
        """Returns the index of the first point of the window."""
        return next((point.index for point in self._points if point.index > self._points[-1].index - NUM_POINTS), 0)

    def _rates(self, counts: list[int]) -> list[float]:
        """Returns rates per second, each over the points of the last second, or over one point that is longer."""
        width = max(round(RATE_S / self.width_s), 1)
        sums = [0, *accumulate(counts)]
        young = [total / (i * self.width_s) for i, total in enumerate(sums[:width]) if i]
        scale = 1 / (width * self.width_s)
        return young + [(until - since) * scale for since, until in zip(sums, sums[width:], strict=False)]

    def step_at(self, t: float) -> int | None:
        """Returns the last step made by this place on the axis of `series`; None before the first."""
        before = [point.last_step for point in self._points if self._place(point) <= t + self.width_s / 2]
        return (before[-1] if before else 0) or None

    def place_of(self, step: int) -> float | None:
        """Returns the place of a step on the axis of `series`; None where that is not in the window."""
        if not self._points or step <= self._points[0].last_step - 1:
            return None
        return next((self._place(point) for point in self._points if point.last_step >= step), None)

    def _place(self, point: Point) -> float:
        return (point.index + 1 - self._first()) * self.width_s

    @property
    def empty(self) -> str:
        return "" if self.totals.num_steps else f"The engine has done nothing yet: {self.facts.advice.begins}"

    def picture(self) -> ThroughputPicture:
        num_pages = sum(self._pages or ())
        return ThroughputPicture(self.series(), replace(self.totals), self.width_s, num_pages, self.empty, self._read_words())

    def _read_words(self) -> str:
        return self._reads.words(self._bandwidth)

    def state(self) -> dict[str, Any]:
        """Returns the words. The charts, which are slower to draw, ask for `series`."""
        first = self._first()
        outputs = [0] * (self._points[-1].index + 1 - first) if self._points else []
        for point in self._points:
            if point.index >= first:
                outputs[point.index - first] = point.output
        last = dict(zip(GAUGES, self._points[-1].gauges if self._points else (None,) * len(GAUGES), strict=True))
        facts = [list(fact) for fact in facts_of(self.totals, self._rates(outputs), last, self._read_words())]
        return {"title": title_of(len(outputs) * self.width_s), "facts": facts}
