"""What moves the views: one thread per event log reads what is new, folds it, and shows each view its state.

Pictures move while a cell is busy, since nothing here runs on the cell's thread; when a cell ends, `flush` shows the last
state from there, so that a saved notebook holds it.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from workbench.errors import EngineDead, WorkbenchError, in_one_line
from workbench.events import Event, EventLog
from workbench.switch_interval import UNDIVIDED_S, switching
from workbench.views.fold import Facts, Fold
from workbench.views.live.source import Source

PERIOD_S, MAX_PAUSE_S = 0.098, 1.0
"""Ten states a second are seen as movement, and more would only take from the engine."""
SHARE = 1 / 16
"""Of one core, for folding and sending: after each round the feed rests until it was busy for no more."""

GAP = "this view fell behind the event log and began again from the engine's present state\nevent_log_size=N keeps more"


class Reader:
    """A fold and how far in the log it is."""

    def __init__(self, source: Source, make: Callable[[Facts], Fold]) -> None:
        self.source = source
        self._make = make
        self.fold = make(source.facts)
        self.number = 0
        """Of the next event to read."""
        self.failure = ""
        """Why the picture may be wrong: a mistake of ours."""
        self.gap = ""
        """What to say of a view that fell behind the log."""
        self.lock = threading.RLock()
        """Held while the fold changes: take it to ask the fold several things about one moment."""

    def read(self, news: tuple[int, list[Event]] | None = None) -> None:
        """Changes: folds what is new. After a gap in the log it starts afresh from a snapshot.

        `news` are the first number and the events of a reading that was made for several readers.
        """
        with self.lock:
            first, events = news if news is not None and news[0] == self.number else self.source.log.read(self.number)
            if first > self.number:
                self.gap = GAP if self.number else self.gap
                first, events = self._restart()
            self._apply(events)
            self.number = first + len(events)

    def _apply(self, events: Iterable[Event], *, is_present: bool = False) -> None:
        """A fold that fails at one event is given the next: a picture with a fault in it beats none."""
        apply = self.fold.apply_present if is_present else self.fold.apply
        for event in events:
            try:
                apply(event)
            except Exception as error:
                self.failure = in_one_line(error)

    def _restart(self) -> tuple[int, list[Any]]:
        """Makes a fresh fold in the engine's present state, or an empty one if the engine has ended.

        Returns the number of the next event to apply, and the events from there on.
        """
        self.fold = self._make(self.source.facts)
        try:
            snapshot = self.source.engine.snapshot()
        except WorkbenchError:
            return self.source.log.read()
        number = self.source.log.number_after(snapshot.taken)
        first, past = self.source.log.read() if self.fold.keeps_history else (number, [])
        self._apply(past[: max(number - first, 0)])
        self._apply(snapshot.events, is_present=True)
        return self.source.log.read(number)


class Shown(Protocol):
    """What a feed feeds: `workbench.views.live.base.ViewWidget`."""

    key: str
    reader: Reader
    is_shown: bool

    def refresh(self) -> None:
        """Draw the fold's present state if it changed."""

    def renew(self) -> None:
        """Draw the still picture that a saved notebook holds anew."""

    def take_news(self) -> dict[str, Any]:
        """What the ticker has to tell of it since the last call: {trait: value}."""

    def settle(self) -> None:
        """Leave nothing for the ticker or for later."""

    def say(self, note: str) -> None:
        """Write this above the picture; the picture stays."""


class Feed:
    """The views of one log."""

    _all: weakref.WeakSet[Feed] = weakref.WeakSet()

    def __init__(self, source: Source) -> None:
        self.source = source
        self.views: list[Shown] = []
        self.ticker: Any = None
        """The `Ticker` of its views, once there is one."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        _flush_when_cells_end()

    @classmethod
    def of(cls, source: Source) -> Feed:
        """The feed of the source's log, made when there is none."""
        if source.feed is None:
            source.feed = cls(source)
            cls._all.add(source.feed)
        return source.feed

    def add(self, view: Shown) -> None:
        """Changes: shows the view its state, and from now on whatever changes it."""
        with self._lock:
            self.views.append(view)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="workbench-views", daemon=True)
                self._thread.start()
        self._show(view)

    def remove(self, view: Shown) -> None:
        with self._lock:
            if view in self.views:
                self.views.remove(view)

    def flush(self) -> None:
        """Every view has its last state when this returns."""
        for view in list(self.views):
            self._show(view, is_last=True)

    def _run(self) -> None:
        seen = -1
        while True:
            with self._lock:
                ended = self.source.ended
                if not self.views or ended:
                    self._thread = None
                    break
            began, busy = time.monotonic(), time.thread_time()
            if self.source.log.num_added != seen:
                with switching(UNDIVIDED_S):
                    first, events = self.source.log.read(self.source.log.num_added if seen < 0 else seen)
                    seen = first + len(events)
                    for view in list(self.views):
                        self._show(view, (first, events))
                    if self.ticker is not None:
                        self.ticker.tell(list(self.views))
            rest = (time.thread_time() - busy) / SHARE
            time.sleep(min(max(began + PERIOD_S - time.monotonic(), rest), MAX_PAUSE_S))
        self.flush()

    def _show(self, view: Shown, news: tuple[int, list[Event]] | None = None, *, is_last: bool = False) -> None:
        """Nothing raises here: on this thread nobody would see it, and the cell that ends is not at fault."""
        if not view.is_shown:
            return
        try:
            view.reader.read(news)
            view.refresh()
            if is_last:
                view.settle()
            reader = view.reader
            ended = self._ending(self.source.ended)
            view.say(ended or _off(self.source.log) or _wrong(reader.failure) or reader.fold.note or reader.gap)
        except EngineDead as error:
            view.say(self._ending(str(error)))
        except Exception as error:
            view.say(_wrong(in_one_line(error)))

    def _ending(self, reason: str) -> str:
        if not reason:
            return ""
        again = "%wb load starts it again" if self.source.facts.by_magic else "make the engine again to go on"
        return f"{reason.splitlines()[0]}\nthis is its last state; {again}"


def flush_all() -> None:
    """Every view of every engine has its last state when this returns."""
    for feed in list(Feed._all):
        feed.flush()


def _off(log: EventLog) -> str:
    return "" if log.on else "recording is off, so nothing moves here\nload the engine without event_log_size=0"


def _wrong(failure: str) -> str:
    return f"this view may be wrong: {failure}\nopen it again: engine.view(...)" if failure else ""


def _flush_when_cells_end() -> None:
    """What a thread sends after the last cell ended is not saved: the state at a cell's end is sent before it ends."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    if flush_cell not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", flush_cell)


def flush_cell(result: object) -> None:
    flush_all()
    for feed in list(Feed._all):
        for view in list(feed.views):
            with suppress(Exception):  # no fault of the cell's
                view.renew()
