"""A table of shares as one SVG image: the larger a number, the darker its square, and the number stands in it."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.html.escape import to_html

INK, SHADE = "#78818c", "#3b82f6"
SQUARE, PER_LETTER, TOP = 26, 6.2, 52
DARK = 0.6
"""Share from which on the number in a square is white."""


def heat_map(title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """Returns the SVG of values [rows, columns] from 0 to 1; those outside count as the nearest of these."""
    left = 12 + PER_LETTER * max(map(len, rows))
    width, height = left + SQUARE * len(columns) + 8, TOP + SQUARE * len(rows) + 8
    parts = [f'<text x="4" y="16" fill="{INK}" font-weight="600">{to_html(title)}</text>']
    for i, name in enumerate(columns):
        parts.append(_text(left + SQUARE * (i + 0.5), TOP - 8, name, "middle", INK))
    for j, (name, numbers) in enumerate(zip(rows, values, strict=True)):
        y = TOP + SQUARE * j
        parts.append(_text(left - 8, y + SQUARE / 2 + 4, name, "end", INK))
        for i, number in enumerate(numbers):
            share, x = min(max(number, 0.0), 1.0), left + SQUARE * i
            parts.append(f'<rect x="{x + 1:.1f}" y="{y + 1}" width="{SQUARE - 2}" height="{SQUARE - 2}" {_fill(share)}/>')
            ink = "#fff" if share >= DARK else INK
            parts.append(_text(x + SQUARE / 2, y + SQUARE / 2 + 4, f"{100 * share:.0f}", "middle", ink))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}"'
    return f'{head} role="img" aria-label="{to_html(title)}" font-family="sans-serif" font-size="11">{"".join(parts)}</svg>'


def _fill(share: float) -> str:
    return f'fill="{SHADE}" fill-opacity="{0.04 + 0.96 * share:.2f}"'


def _text(x: float, y: float, words: str, anchor: str, ink: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{ink}" text-anchor="{anchor}">{to_html(words)}</text>'
