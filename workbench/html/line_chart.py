"""A chart of lines as one SVG image: no script and no style sheet, so that pages, notebooks and files show the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from workbench.html.escape import to_html

INK, GRID = "#78818c", "rgba(128,128,128,.3)"
STROKES = (("#3b82f6", "none"), ("#d97706", "7 3"), ("#16a34a", "2 3"), ("#9333ea", "9 3 2 3"))
"""Colour and dashes of each line: lines differ without colours too."""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 270, 62, 20, 48, 42
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    title: str
    ticks: Sequence[float]
    """Values with a number and a grid line; the first and the last are the ends of the axis."""
    is_log: bool = False
    words: Callable[[float], str] = "{:,g}".format

    def share(self, value: float) -> float:
        """Returns the place of a value: 0 at the first tick, 1 at the last."""
        low, high, value = (math.log(v) if self.is_log else v for v in (self.ticks[0], self.ticks[-1], value))
        return (value - low) / (high - low)


def line_chart(title: str, x: Axis, y: Axis, lines: Mapping[str, Points]) -> str:
    """Returns the SVG of up to four lines, by their names; every point lies within the axes."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(value: float) -> float:
        return LEFT + x.share(value) * (right - LEFT)

    def down(value: float) -> float:
        return bottom - y.share(value) * (bottom - TOP)

    parts = [_text(LEFT, 14, title, "start", bold=True), _text((LEFT + right) / 2, HEIGHT - 6, x.title, "middle")]
    parts.append(_text(right, 14, y.title, "end"))
    for value in x.ticks:
        parts.append(f'<path d="M{across(value):.1f} {TOP}V{bottom}" stroke="{GRID}"/>')
        parts.append(_text(across(value), bottom + 16, x.words(value), "middle"))
    for value in y.ticks:
        parts.append(f'<path d="M{LEFT} {down(value):.1f}H{right}" stroke="{GRID}"/>')
        parts.append(_text(LEFT - 6, down(value) + 4, y.words(value), "end"))
    at = float(LEFT)
    for (name, points), (colour, dashes) in zip(lines.items(), STROKES, strict=False):
        pen = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'
        path = "L".join(f"{across(a):.1f} {down(b):.1f}" for a, b in points)
        parts.append(f'<path d="M{path}" {pen}/><path d="M{at:.0f} 32h26" {pen}/>')
        parts.append(_text(at + 32, 36, name, "start"))
        at += 56 + 6.5 * len(name)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return f'{head} role="img" aria-label="{to_html(title)}" font-family="sans-serif" font-size="11">{"".join(parts)}</svg>'


def ticks_from_zero(highest: float) -> list[float]:
    """Returns four to eight round values from 0 to `highest` or a little above."""
    power = 10.0 ** math.floor(math.log10(highest))
    step = next(power * part for part in (0.2, 0.25, 0.5, 1.0, 2.0) if power * part * 7 >= highest)
    return [step * i for i in range(math.ceil(highest / step - 1e-9) + 1)]


def _text(x: float, y: float, words: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{INK}" text-anchor="{anchor}"{weight}>{to_html(words)}</text>'
