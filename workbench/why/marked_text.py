"""Texts with marked places: a line of carets on a terminal, coloured marks in HTML."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from workbench.html.escape import to_html, visible

AROUND = 60
"""Characters shown before and after the place."""
Span = tuple[int, int]


def line_with_carets(text: str, spans: Sequence[Span]) -> str:
    """Returns the line of `text` in which the first span begins, and under it a caret for each character of the spans in it."""
    first = min(spans)[0]
    start = text.rfind("\n", 0, first) + 1
    end = text.find("\n", first)
    end = len(text) if end < 0 else end
    left, right = max(start, first - AROUND), min(end, first + AROUND)
    shown = ["…"] * (left > start) + [visible(char) for char in text[left:right]] + ["…"] * (right < end)
    carets = [" "] * (left > start)
    for i in range(left, max(right, first) + 1):
        is_marked = any(low <= i < max(high, low + 1) for low, high in spans)
        carets.append(("^" if is_marked else " ") * (_width(text[i]) if i < right else 1))
    return f"{''.join(shown)}\n{''.join(carets).rstrip()}"


def marked(text: str, spans: Sequence[Span], kind: str) -> str:
    """Returns HTML of `text` with the spans in elements of the class `wb-KIND`; an empty span shows as a blank."""
    parts, at = [], 0
    for low, high in sorted(spans):
        if low < at:
            continue
        inside = to_html(text[low:high]) if high > low else "&nbsp;"
        inside = inside.replace("\n", "⏎\n")
        parts.append(f'{to_html(text[at:low])}<span class="wb-{kind}">{inside}</span>')
        at = high
    return "".join([*parts, to_html(text[at:])])


def _width(char: str) -> int:
    """Returns the columns that a character takes on a terminal."""
    shown = visible(char)
    return len(shown) if shown != char else 0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
