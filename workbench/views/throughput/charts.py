"""Four small charts as inline SVG: lines differ in dashes and carry their names, areas are stacked and named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.html.escape import to_html
from workbench.html.parts import duration

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 400, 120, 6, 24, 16
PAGES = ("pages_owned", "pages_tree", "pages_free")
Line = tuple[str, str, Sequence[Any]]
"""Name, CSS class and values of a line; None is not drawn."""


def charts_of(series: Mapping[str, Sequence[Any]], num_pages: int) -> list[str]:
    """Returns the four charts of a window of at least two points. `series` are the columns of `ThroughputFold.series`."""
    t = series["t"]
    shares = [("from cache", "a", series["hit_rate"]), ("recomputed", "b", series["recompute_tax"])]
    return [
        _lines("tokens/s", t, [("output", "a", series["output"]), ("prefill", "b", series["prefill"])]),
        _lines("requests", t, [("running", "a", series["running"]), ("waiting", "b", series["waiting"])]),
        _areas("KV pages", series, num_pages),
        _lines("shares", t, shares, percent=True),
    ]


def _lines(title: str, t: Sequence[float], shown: Sequence[Line], *, percent: bool = False) -> str:
    """Returns a chart of lines. Each line fills the height, and its name says what that is; shares go up to 100 %."""
    drawn, at = "", LEFT + 7.0 * len(title) + 16
    for name, kind, values in shown:
        top = 1.0 if percent else max((value for value in values if value is not None), default=0.0)
        label = name if percent else f"{name}, up to {top:,.0f}"
        drawn += f'<path class="wb-line-{kind}" d="{path(t, values, top or 1.0)}"/>'
        drawn += f'<path class="wb-line-{kind}" d="M{at:.0f} 10h18"/><text x="{at + 22:.0f}" y="14">{to_html(label)}</text>'
        at += 36 + 6.4 * len(label)
    return _chart(title, t, drawn + (_most("100%") if percent else ""))


def _areas(title: str, series: Mapping[str, Sequence[Any]], num_pages: int) -> str:
    """Returns the chart of pages: running requests below, the tree above them, free up to the frame."""
    t, owned, tree = series["t"], series["pages_owned"], series["pages_tree"]
    both = [None if a is None or b is None else a + b for a, b in zip(owned, tree, strict=True)]
    top = top_of_pages(series)
    areas = f'<path class="wb-area-b" d="{_area(t, both, top)}"/><path class="wb-area-a" d="{_area(t, owned, top)}"/>'
    lines = f'<path class="wb-line-c" d="{path(t, both, top)}"/><path class="wb-line-a" d="{path(t, owned, top)}"/>'
    key = (
        '<rect class="wb-area-a" x="94" y="5" width="16" height="10"/><text x="115" y="14">running</text>'
        '<rect class="wb-area-b" x="174" y="5" width="16" height="10"/><text x="195" y="14">+ tree</text>'
        '<text x="246" y="14">free above</text>'
    )
    return _chart(title, t, areas + lines + key + _most(f"{top:,} of {num_pages:,}"))


def top_of_pages(series: Mapping[str, Sequence[Any]]) -> int:
    """Returns where a chart of pages ends: a little above what was used, since most of a large pool is free."""
    used = [owned + tree for owned, tree in zip(series["pages_owned"], series["pages_tree"], strict=True) if owned is not None]
    pools = [sum(row) for row in zip(*(series[name] for name in PAGES), strict=True) if None not in row]
    return max(min(math.ceil(1.25 * max(used, default=0)), max(pools, default=0)), 1)


def _chart(title: str, t: Sequence[float], inner: str) -> str:
    bottom = HEIGHT - BOTTOM
    frame = f'<path class="wb-axis" d="M{LEFT} {TOP}H{WIDTH - LEFT}M{LEFT} {bottom}H{WIDTH - LEFT}"/>'
    ends = f'<text class="wb-tick" x="{LEFT}" y="{HEIGHT - 4}">0</text>'
    ends += f'<text class="wb-tick" x="{WIDTH - LEFT}" y="{HEIGHT - 4}" text-anchor="end">{duration(t[-1])}</text>'
    name = f'<text x="{LEFT}" y="14" font-weight="600">{to_html(title)}</text>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{to_html(title)}">{frame}{inner}{name}{ends}</svg>'


def _most(text: str) -> str:
    return f'<text class="wb-tick" x="{WIDTH - LEFT}" y="{TOP - 4}" text-anchor="end">{to_html(text)}</text>'


def path(t: Sequence[float], values: Sequence[float | None], top: float) -> str:
    """Returns the SVG path of a line, which is interrupted where a value is missing."""
    parts, pen = [], "M"
    for x, y in _places(t, values, top):
        if y is None:
            pen = "M"
        else:
            parts.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
    return "".join(parts)


def _area(t: Sequence[float], values: Sequence[float | None], top: float) -> str:
    known = [(x, y) for x, y in _places(t, values, top) if y is not None]
    if not known:
        return ""
    base = HEIGHT - BOTTOM
    return f"M{known[0][0]:.1f} {base}" + "".join(f"L{x:.1f} {y:.1f}" for x, y in known) + f"L{known[-1][0]:.1f} {base}Z"


def _places(t: Sequence[float], values: Sequence[float | None], top: float) -> list[tuple[float, float | None]]:
    across = (WIDTH - 2 * LEFT) / ((t[-1] - t[0]) or 1.0)
    high = HEIGHT - BOTTOM - TOP
    return [
        (LEFT + (x - t[0]) * across, None if value is None else HEIGHT - BOTTOM - high * min(value / top, 1.0))
        for x, value in zip(t, values, strict=True)
    ]
