"""Small pieces of English: alternatives, and texts in quotes."""

from __future__ import annotations

from collections.abc import Iterable

MAX_TEXT = 40
"""Longer texts are cut at their end."""
NAMES = {"\n": "a newline", "\t": "a tab", "\r": "a carriage return", " ": "a space"}


def either(words: Iterable[str]) -> str:
    """Returns `a, b or c`; "nothing" for no words."""
    *most, last = [*words] or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last


def quoted(text: str) -> str:
    """Returns a text in quotes that it does not hold itself; blank characters by their names."""
    if text in NAMES:
        return NAMES[text]
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 1] + "…"
    return f'"{text}"' if '"' not in text else f"'{text}'" if "'" not in text else f"`{text}`"
