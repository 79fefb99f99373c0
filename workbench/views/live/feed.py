"""Moves the views: one thread for each event log reads what is new, folds it, and shows each view its state.

Pictures move while a cell is busy, since nothing here runs on the cell's thread. When a cell ends, `flush` shows the last
state from the cell's own thread, so that a saved notebook holds it.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from contextlib import suppress
from typing import Any, Protocol

from workbench.errors import EngineDead, in_one_line
from workbench.events import Event, EventLog
from workbench.switch_interval import UNDIVIDED_S, switching
from workbench.views.live.reader import Reader
from workbench.views.live.source import Source

PERIOD_S, MAX_PAUSE_S = 0.098, 1.0
"""Seconds between two rounds, and at most. Ten states a second look like movement; more would only take from the engine."""
SHARE = 1 / 16
"""Share of one core for folding and sending: after each round the feed rests until it was busy for no more."""


class Shown(Protocol):
    """A view, as the feed uses it: `workbench.views.live.widget.ViewWidget`."""

    key: str
    reader: Reader[Any]
    is_shown: bool

    def refresh(self) -> None:
        """Draws the fold's state where it changed."""

    def renew(self) -> None:
        """Replaces the still picture that a saved notebook holds."""

    def take_news(self) -> dict[str, Any]:
        """Returns the traits that the ticker is to send, {trait: value}, once."""

    def settle(self) -> None:
        """Leaves nothing for the ticker or for later."""

    def say(self, note: str) -> None:
        """Writes a note above the picture; the picture stays."""


class Feed:
    """The views of one log."""

    _all: weakref.WeakSet[Feed] = weakref.WeakSet()

    def __init__(self, source: Source) -> None:
        self.source = source
        self.views: list[Shown] = []
        self.ticker: Any = None
        """The `Ticker` of its views; None until there is one."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        _flush_when_cells_end()

    @classmethod
    def of(cls, source: Source) -> Feed:
        """Returns the feed of the source's log, and makes it where there is none."""
        if source.feed is None:
            source.feed = cls(source)
            cls._all.add(source.feed)
        return source.feed

    def add(self, view: Shown) -> None:
        """Shows the view its state, and from now on every change of it."""
        with self._lock:
            self.views.append(view)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="workbench-views", daemon=True)
                self._thread.start()
        self._show(view)

    def remove(self, view: Shown) -> None:
        """Stops moving the view."""
        with self._lock:
            if view in self.views:
                self.views.remove(view)

    def flush(self) -> None:
        """Shows every view its last state before it returns."""
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
                seen = self._show_news(seen)
            rest = (time.thread_time() - busy) / SHARE
            time.sleep(min(max(began + PERIOD_S - time.monotonic(), rest), MAX_PAUSE_S))
        self.flush()

    def _show_news(self, seen: int) -> int:
        """Shows all views what is new since event number `seen`. Returns the number to go on from."""
        with switching(UNDIVIDED_S):
            first, events = self.source.log.read(self.source.log.num_added if seen < 0 else seen)
            for view in list(self.views):
                self._show(view, (first, events))
            self._send_news()
        return first + len(events)

    def _send_news(self) -> None:
        """Sends what the views have for pages. Never raises, as `_show`: views say what went wrong, and move on."""
        try:
            if self.ticker is not None:
                self.ticker.send_news(list(self.views))
        except Exception as error:
            for view in list(self.views):
                view.say(self._wrong(in_one_line(error)))

    def _show(self, view: Shown, news: tuple[int, list[Event]] | None = None, *, is_last: bool = False) -> None:
        """Shows one view its state. Never raises: the feed's thread has no caller, and the cell that ends is not at fault."""
        if not view.is_shown:
            return
        try:
            view.reader.read(news)
            view.refresh()
            if is_last:
                view.settle()
            reader = view.reader
            ended = self._ending(self.source.ended)
            view.say(ended or _off(self.source.log) or self._wrong(reader.failure) or reader.fold.note or reader.gap)
        except EngineDead as error:
            view.say(self._ending(str(error)))
        except Exception as error:
            view.say(self._wrong(in_one_line(error)))

    def _ending(self, reason: str) -> str:
        if not reason:
            return ""
        return f"{reason.splitlines()[0]}\nthis is its last state; {self.source.facts.advice.restarts}"

    def _wrong(self, failure: str) -> str:
        return f"this view may be wrong: {failure}\n{self.source.facts.advice.reopens}" if failure else ""


def flush_all() -> None:
    """Shows every view of every engine its last state before it returns."""
    for feed in list(Feed._all):
        feed.flush()


def _off(log: EventLog) -> str:
    return "" if log.on else "recording is off, so nothing moves here\nload the engine without event_log_size=0"


def _flush_when_cells_end() -> None:
    """Registers `flush_cell`, once: what a thread sends after the last cell ended is not saved in the notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    if flush_cell not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", flush_cell)


def flush_cell(result: object) -> None:
    """Shows every view its last state, and renews the still pictures under them. IPython calls it when a cell ends."""
    flush_all()
    for feed in list(Feed._all):
        for view in list(feed.views):
            with suppress(Exception):  # no fault of the cell's
                view.renew()
