"""Stop strings in a text that arrives in pieces: nothing of a match, or of what may become one, gets out."""

from __future__ import annotations

import re


class StopFinder:
    """Finds the first stop string, whatever the pieces the text is cut into.

    The text counts as read character by character: the stop string that is complete first wins, and of two that are
    complete at the same character the longer one. `matched` is the winner, None before.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.matched: str | None = None
        self._stops = stops
        self._first = re.compile("|".join(sorted(re.escape(char) for char in {stop[0] for stop in stops})))
        self._held = ""

    def push(self, text: str) -> str:
        """Takes the next piece and gives the text that certainly stands before any match."""
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
        """What was held back, when no more text comes."""
        text, self._held = self._held, ""
        return text

    def _possible_start(self, text: str) -> int:
        """Where the earliest stop string that may still be completed begins; the text's length if none does."""
        for match in self._first.finditer(text):
            rest = text[match.start() :]
            if any(stop.startswith(rest) for stop in self._stops):
                return match.start()
        return len(text)
