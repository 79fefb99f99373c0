"""Finds stop strings in a text that arrives in pieces. No part of a match, or of a possible match, is returned."""

from __future__ import annotations

import re


class StopFinder:
    """Finds the first stop string, independent of how the text is cut into pieces.

    The text counts as read character by character: the stop string that is complete first wins, and of two that are
    complete at the same character the longer one. `matched` is the winner, None before.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.matched: str | None = None
        self._stops = stops
        self._first = re.compile("|".join(sorted(re.escape(char) for char in {stop[0] for stop in stops})))
        self._held = ""

    def push(self, text: str) -> str:
        """Takes the next piece and returns the text that stands before any match."""
        text = self._held + text
        ends = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            _, at, self.matched = min(ends)
            self._held = ""
            return text[:at]
        at = self._possible_start(text)
        self._held = text[at:]
        return text[:at]

    def finish(self) -> str:
        """Returns the text held back, at the end of the text."""
        text, self._held = self._held, ""
        return text

    def _possible_start(self, text: str) -> int:
        """Returns the index of the earliest incomplete stop string, or the length of the text if there is none."""
        for match in self._first.finditer(text):
            rest = text[match.start() :]
            if any(stop.startswith(rest) for stop in self._stops):
                return match.start()
        return len(text)
