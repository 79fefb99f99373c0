"""How much the engine does and what it costs, over the last while: rates, queue, cache hits, memory and the recompute tax."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any

from workbench.errors import InvalidRequest
from workbench.events import (
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
from workbench.html.parts import View, duration, lines, plural
from workbench.views.fold import Facts, Fold, Handlers
from workbench.views.throughput.plotly_chart import figure
from workbench.views.throughput.svg_chart import SEES, throughput_html

NUM_POINTS = 240
RATE_S = 1.0
GAUGES = ("running", "waiting", "pages_owned", "pages_tree", "pages_free", "hit_rate", "recompute_tax")


@dataclass
class Totals:
    """Since the fold began. Tokens, but for the counts of steps, retractions and requests."""

    num_steps: int = 0
    step_s: float = 0.0
    """Seconds spent in steps."""
    prompt: int = 0
    """In the prompts of admitted requests, of which `cached` came from the cache."""
    cached: int = 0
    computed: int = 0
    output: int = 0
    num_retractions: int = 0
    recomputed: int = 0
    """Computed a second time, since a retraction had given them up and the tree did not keep them."""
    num_finished: int = 0

    @property
    def hit_rate(self) -> float | None:
        return self.cached / self.prompt if self.prompt else None

    @property
    def recompute_tax(self) -> float:
        """The part of all computed tokens that was computed again."""
        return self.recomputed / self.computed if self.computed else 0.0


@dataclass(slots=True)
class Point:
    """One stretch of time: tokens in it, and how things stood at its end."""

    index: int
    output: int = 0
    computed: int = 0
    """Of prompts: all but plain decode."""
    gauges: tuple[float | None, ...] = ()
    """In the order of `GAUGES`."""
    last_step: int = 0
    """Number of the last step by its end; 0 before the first."""


@dataclass(frozen=True, repr=False)
class ThroughputPicture(View):
    """`series` holds columns of equal length: `t` in seconds (ends of the stretches), rates per second, and the gauges."""

    series: dict[str, list[Any]]
    totals: Totals
    width_s: float
    num_pages: int
    empty: str = ""
    """While nothing has happened: that, and what one types to change it."""

    @property
    def title(self) -> str:
        return _title(len(self.series["t"]) * self.width_s)

    def facts(self) -> list[tuple[str, str]]:
        last = {name: self.series[name][-1] if self.series["t"] else None for name in GAUGES}
        return _facts(self.totals, self.series["output"], last)

    def to_text(self) -> str:
        return self.title + "\n" + lines((), self.facts())

    def body(self) -> str:
        return throughput_html(self)

    def figure(self) -> Any:
        """The charts as a plain plotly figure; needs plotly."""
        return figure(self.series)

    def to_dict(self) -> dict[str, Any]:
        rates = {"hit_rate": self.totals.hit_rate, "recompute_tax": self.totals.recompute_tax}
        return {
            "title": self.title, "series": self.series, "totals": asdict(self.totals) | rates, "num_pages": self.num_pages,
            "facts": [list(fact) for fact in self.facts()],
        }  # fmt: skip


def _title(seconds: float) -> str:
    return f"Throughput and memory, last {duration(seconds) if seconds else '0 s'}"


def _facts(totals: Totals, rates: Sequence[float], last: Mapping[str, Any]) -> list[tuple[str, str]]:
    """`rates` are those of output in the window, `last` the gauges at its end."""
    hits = "no prompt yet" if totals.hit_rate is None else f"{totals.hit_rate:.0%}"
    pages = " / ".join(f"{last[name] or 0:,.0f}" for name in ("pages_free", "pages_tree", "pages_owned"))
    now, most = (rates[-1], max(rates)) if rates else (0.0, 0.0)
    return [
        ("output tokens per second", f"{now:,.0f} now, {most:,.0f} at most"),
        ("requests", f"{last['running'] or 0:,.0f} running, {last['waiting'] or 0:,.0f} waiting, {totals.num_finished:,} ended"),
        ("prompt tokens from the cache", f"{hits}: {totals.cached:,} of {totals.prompt:,}"),
        ("KV pages free / tree / running", pages),
        (
            "recompute tax",
            f"{totals.recompute_tax:.1%}: {totals.recomputed:,} of {totals.computed:,} computed tokens, "
            f"after {plural(totals.num_retractions, 'retraction')}",
        ),
        ("steps", f"{totals.num_steps:,} in {duration(totals.step_s)}, {totals.output:,} tokens out"),
    ]


class ThroughputFold(Fold):
    """Keeps the last `window` seconds in at most 240 points, and the totals."""

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
        """Of retracted requests: how far they had come."""
        self._ended: list[str] = []
        self._pages: tuple[int, int, int] | None = None
        """free, tree, owned"""

    def handlers(self) -> Handlers:
        changed = self._changed
        return {
            TokenSampled: self._sampled, StepExecuted: self._executed, RequestArrived: changed, PrefixMatched: changed,
            RequestScheduled: changed, RequestRetracted: changed, RequestFinished: changed, SnapshotTaken: self._snapshot,
        }  # fmt: skip

    def apply_present(self, event: Event) -> None:
        if not isinstance(event, TokenSampled):  # when those of the past were sampled is not known
            self.apply(event)

    def _snapshot(self, event: SnapshotTaken) -> None:
        self._pages = (event.pages_free, event.pages_tree, event.pages_owned)
        self._at(event.time).gauges = self._gauges()

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
                self._ended.append(event.rid)  # the step it ended in is told after that
                totals.num_finished += 1
        self._at(event.time).gauges = self._gauges()

    def _executed(self, event: StepExecuted) -> None:
        totals, point = self.totals, self._at(event.time)
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
        """The point of this time; times that run back a little (another thread's) count to the last."""
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
        """The window as columns. Rates are means over the last second; where nothing happened, the rest stays as it was."""
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
        """Index of the first point of the window."""
        return next((point.index for point in self._points if point.index > self._points[-1].index - NUM_POINTS), 0)

    def _rates(self, counts: list[int]) -> list[float]:
        """Per second, each over the stretches of the last second, or over one that is longer."""
        width = max(round(RATE_S / self.width_s), 1)
        sums = [0, *accumulate(counts)]
        young = [total / (i * self.width_s) for i, total in enumerate(sums[:width]) if i]
        scale = 1 / (width * self.width_s)
        return young + [(until - since) * scale for since, until in zip(sums, sums[width:], strict=False)]

    def step_at(self, t: float) -> int | None:
        """Number of the last step made by this place on the axis of `series`."""
        before = [point.last_step for point in self._points if self._place(point) <= t + self.width_s / 2]
        return (before[-1] if before else 0) or None

    def place_of(self, step: int) -> float | None:
        """Where on the axis of `series` this step was made; None when that is not in the window."""
        if not self._points or step <= self._points[0].last_step - 1:
            return None
        return next((self._place(point) for point in self._points if point.last_step >= step), None)

    def _place(self, point: Point) -> float:
        return (point.index + 1 - self._first()) * self.width_s

    @property
    def empty(self) -> str:  # type: ignore[override]
        return "" if self.totals.num_steps else f"The engine has done nothing yet. Try {self.facts.begins}"

    def picture(self) -> ThroughputPicture:
        num_pages = sum(self._pages or ())
        return ThroughputPicture(self.series(), replace(self.totals), self.width_s, num_pages, self.empty)

    def state(self) -> dict[str, Any]:
        """The words; the charts, which are slower to draw, ask for `series`."""
        first = self._first()
        outputs = [0] * (self._points[-1].index + 1 - first) if self._points else []
        for point in self._points:
            if point.index >= first:
                outputs[point.index - first] = point.output
        last = dict(zip(GAUGES, self._points[-1].gauges if self._points else (None,) * len(GAUGES), strict=True))
        facts = [list(fact) for fact in _facts(self.totals, self._rates(outputs), last)]
        return {"title": _title(len(outputs) * self.width_s), "facts": facts}
