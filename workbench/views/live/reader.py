"""A fold, and how far in the log it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from workbench.errors import WorkbenchError, in_one_line
from workbench.events import Event
from workbench.html.parts import View
from workbench.views.fold import Facts, Fold
from workbench.views.live.source import Source

FoldT = TypeVar("FoldT", bound=Fold[View])

GAP = "this view fell behind the event log and began again from the engine's present state\nevent_log_size=N keeps more"


class Reader(Generic[FoldT]):
    """Reads a source's log into a fold."""

    def __init__(self, source: Source, make: Callable[[Facts], FoldT]) -> None:
        self.source = source
        self.make = make
        """Function that makes the fold, with the options of the view."""
        self.fold = make(source.facts)
        self.number = 0
        """Number of the next event to read."""
        self.failure = ""
        """Why the picture may be wrong: the fold failed at an event."""
        self.gap = ""
        """Note of a view that fell behind the log."""
        self.lock = threading.RLock()
        """Lock that is held while the fold changes: take it to ask the fold several things about one moment."""

    def read(self, news: tuple[int, list[Event]] | None = None) -> None:
        """Folds the new events. After a gap in the log it starts afresh from a snapshot.

        `news` are the first number and the events of a reading that was made for several readers.
        """
        with self.lock:
            first, events = news if news is not None and news[0] == self.number else self.source.log.read(self.number)
            if first > self.number:
                self.gap = GAP if self.number else self.gap
                first, events = self._restart()
            self.apply(events)
            self.number = first + len(events)

    def apply(self, events: Iterable[Event], *, is_present: bool = False) -> None:
        """Folds events. A fold that fails at one is given the next: a picture with a fault in it beats none."""
        apply = self.fold.apply_present if is_present else self.fold.apply
        for event in events:
            try:
                apply(event)
            except Exception as error:
                self.failure = in_one_line(error)

    def _restart(self) -> tuple[int, list[Any]]:
        """Makes a fold of the engine's present state. Returns the events since then, for the caller to fold.

        For an engine that has ended these are all that the log still holds.
        """
        self.fold = self.make(self.source.facts)
        try:
            snapshot = self.source.engine.snapshot()
        except WorkbenchError:
            return self.source.log.read()
        number = self.source.log.number_after(snapshot.taken)
        first, past = self.source.log.read() if self.fold.keeps_history else (number, [])
        self.apply(past[: max(number - first, 0)])
        self.apply(snapshot.events, is_present=True)
        return self.source.log.read(number)
