"""Live throughput and memory: the numbers in words, and under them charts by plotly."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets
from ipywidgets import widget_serialization
from plotly.graph_objects import FigureWidget

from workbench.views.live.reader import Reader
from workbench.views.live.widget import ViewWidget
from workbench.views.throughput.charts import top_of_pages
from workbench.views.throughput.figure import INK, PLACES, figure
from workbench.views.throughput.fold import ThroughputFold

AXES = (("x", "y"), ("x2", "y3"), ("x3", "y4"), ("x4", "y5"))
"""Axes of the four charts; y2 is the right axis of the first."""

CHART_PAUSE_S = 2.0
"""Seconds between two drawings of the charts: one takes a tenth of a second of the page's only thread, in which no other view
moves. The words above them move with the other views."""


class ThroughputWidget(ViewWidget[ThroughputFold]):
    chart = traitlets.Any().tag(sync=True, **widget_serialization)
    """A `FigureWidget`: one message for each change of all its lines (`plotly_update`)."""

    def __init__(self, reader: Reader[ThroughputFold], **traits: Any) -> None:
        self._charted_at = 0.0
        self._num_places = 0
        """Points on the axis of time; once the window is full the number stays."""
        self._is_drawn = True
        """False while something new waits, since it came too soon after the last drawing."""
        super().__init__(reader, chart=FigureWidget(figure(reader.fold.series())), **traits)
        self.chart._config = {"responsive": True, "displaylogo": False}
        for trace in self.chart.data:
            trace.on_click(self._clicked)
        self.observe(lambda _: self._mark(), names=["selected"])

    def figure(self) -> Any:
        """Returns the present charts as a plain plotly figure."""
        self.reader.read()
        with self.reader.lock:
            return self.fold.picture().figure()

    def show(self, state: dict[str, Any]) -> None:
        super().show(state)
        self._is_drawn = False
        if time.monotonic() - self._charted_at >= CHART_PAUSE_S:
            self._draw_charts()

    def settle(self) -> None:
        super().settle()
        self._draw_charts()

    def _draw_charts(self) -> None:
        if self._is_drawn:
            return
        with self.reader.lock:
            self._is_drawn, series = True, self.fold.series()
        self._charted_at = time.monotonic()
        traces: dict[str, list[Any]] = {"y": [_column(series[name]) for name in PLACES]}
        if len(series["t"]) != self._num_places:
            self._num_places = len(series["t"])
            traces["x"] = [_column(series["t"])] * len(PLACES)
        self.chart.plotly_update(traces, {"yaxis4.range": [0, top_of_pages(series)]}, list(range(len(PLACES))))
        self._mark()

    def close(self) -> None:
        self.chart.close()
        super().close()

    def _mark(self) -> None:
        """Draws a line where the selected step was made."""
        place = None
        if self.selected.get("kind") == "step":
            place = self.fold.place_of(int(self.selected["id"]))
        lines = [] if place is None else [_upright(place, x, y) for x, y in AXES]
        if lines or self.chart.layout.shapes:
            self.chart.layout.shapes = lines

    def _clicked(self, trace: Any, points: Any, state: Any) -> None:
        step = self.fold.step_at(points.xs[0]) if points.xs else None
        if step is not None:
            self.selected = {"kind": "step", "id": step}


def _column(values: Sequence[Any]) -> Any:
    """Returns values as an array: bytes are short to send."""
    return np.asarray(values, dtype=np.float32)


def _upright(place: float, x: str, y: str) -> dict[str, Any]:
    ends = {"x0": place, "x1": place, "y0": 0, "y1": 1}
    return {"type": "line", **ends, "xref": x, "yref": f"{y} domain", "line": {"color": INK, "dash": "dot"}}
