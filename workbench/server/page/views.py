"""`PageViews`: the live views of one open page. Folds run on the views' own thread; messages go to the page's event loop."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from workbench.errors import InvalidRequest
from workbench.html.parts import View
from workbench.server.serving import Serving
from workbench.server.sse import data
from workbench.views.fold import Fold
from workbench.views.live.feed import Feed
from workbench.views.live.kinds import VIEWS
from workbench.views.live.reader import Reader
from workbench.views.live.source import Source
from workbench.views.throughput.charts import charts_of
from workbench.views.throughput.fold import ThroughputFold
from workbench.views.tokens.fold import RequestFold
from workbench.views.tree.fold import TreeFold

NAMES = ("throughput", "batch", "tree", "tokens", "mask", "kv")
"""Views of the page, in their order."""
PERIOD_S, SILENCE_S, CHART_PAUSE_S = 0.2, 10.0, 1.0
"""Seconds between two messages at least, without any message at most, and between two drawings of the charts."""
RENEW_S = 60.0
"""Seconds between two messages with all rows of the tree; those between have the rows that changed. A stream loses none."""


class PageView:
    """One view of one page: what `ViewWidget` is in a notebook. `Feed` moves it."""

    is_shown = True

    def __init__(self, page: PageViews, name: str) -> None:
        self.key = name
        self.reader: Reader[Fold[View]] = Reader(page.source, VIEWS[name].fold)
        self._page = page
        self._rid: str | None = None
        self._drawn: tuple[Any, int] | None = None
        self._charted: tuple[Any, int] | None = None
        """What the charts were drawn of."""
        self._charted_at = float("-inf")
        self._rows: Any = None
        """All rows of the tree at the last look."""
        self._has_new_rows = False
        self._said: dict[str, Any] = {}
        page.put(name, {"sees": self.reader.fold.sees, "epoch": page.source.epoch})

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Handles a message of the page; returns the reply. Raises InvalidRequest for one that this view does not have."""
        with self.reader.lock:
            fold = self.reader.fold
            match asked.get("do"):
                case "detail":
                    return fold.detail(asked)
                case "show" if isinstance(fold, RequestFold):
                    self._rid = asked.get("rid")
                case "open" if isinstance(fold, TreeFold):
                    fold.drawn.opened.add(int(asked["id"]))
                    fold.version += 1
                case "skip" if hasattr(fold, "skip"):
                    fold.skip = max(int(asked["num"]), 0)
                    fold.version += 1
                case word:
                    raise InvalidRequest("do", word, f"a message of the view {self.key}")
            self.refresh()
        return {}

    # -- for the feed -------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Puts the fold's state into the next message where it changed."""
        with self.reader.lock:
            fold = self.reader.fold
            if isinstance(fold, RequestFold):
                fold.show(self._rid)
            if self._drawn is not None and self._drawn[0] is fold and self._drawn[1] == fold.version:
                return
            self._drawn = (fold, fold.version)
            state = fold.state() | ({"empty": fold.empty} if fold.empty else {})
            if isinstance(fold, TreeFold):
                rows = state.pop("rows")
                self._has_new_rows |= rows is not self._rows
                self._rows = rows
            self._page.put(self.key, {"state": state})

    def take_late(self) -> dict[str, Any]:
        """Returns the values that are made only when a message leaves, once: the rows of the tree, or charts."""
        with self.reader.lock:
            fold = self.reader.fold
            if isinstance(fold, TreeFold):
                return self._take_rows(fold)
            return self._draw_charts(fold) if isinstance(fold, ThroughputFold) else {}

    def _take_rows(self, fold: TreeFold) -> dict[str, Any]:
        """Returns the rows that changed since the last call, or all where the page needs them."""
        if not self._has_new_rows:
            return {}
        self._has_new_rows = False
        changed = fold.drawn.take_changes(fold.now, RENEW_S)
        return {"rows": self._rows} if changed is None else {"changed": changed}

    def _draw_charts(self, fold: ThroughputFold) -> dict[str, Any]:
        """Returns the charts of throughput, if they changed and were not just drawn."""
        if self._drawn == self._charted or time.monotonic() - self._charted_at < CHART_PAUSE_S:
            return {}
        self._charted_at, self._charted = time.monotonic(), self._drawn
        series = fold.series()
        charts = charts_of(series, fold.facts.num_pages) if len(series["t"]) > 1 else []
        return {"charts": "".join(charts)}

    def say(self, note: str) -> None:
        """Changes the note above the picture, and whether the engine has ended."""
        said = {"note": note, "ended": bool(self.reader.source.ended)}
        if said != self._said:
            self._said = said
            self._page.put(self.key, said)

    def renew(self) -> None:
        """Does nothing: a page has no still pictures."""

    def take_news(self) -> dict[str, Any]:
        """Returns nothing: the page's own messages have all."""
        return {}

    def settle(self) -> None:
        """Does nothing: messages need no end."""


class PageViews:
    """The views of one page, and the newest values that it has not got. A slow page skips states."""

    def __init__(self, serving: Serving, source: Source) -> None:
        """Opens the views. Called in the event loop of the page."""
        self._serving = serving
        self.id = uuid.uuid4().hex
        self.source = source
        self._loop = asyncio.get_running_loop()
        self._pending: dict[str, dict[str, Any]] = {}
        self.views = {name: PageView(self, name) for name in NAMES}

    def put(self, name: str, traits: dict[str, Any]) -> None:
        """Changes values of a view. Any thread may call it."""
        with suppress(RuntimeError):  # the loop has closed, and the page with it
            self._loop.call_soon_threadsafe(self._put, name, traits)

    def _put(self, name: str, traits: dict[str, Any]) -> None:
        self._pending.setdefault(name, {}).update(traits)

    async def messages(self) -> AsyncIterator[bytes]:
        """Yields the page's messages: {"page": id}, then {view: {trait: value}} where something changed."""
        feed = Feed.of(self.source)
        for view in self.views.values():
            await asyncio.to_thread(feed.add, view)
        try:
            yield data({"page": self.id, "engine": self.source.key, "views": NAMES})
            silent_s = 0.0
            while not self._serving.is_ending and (not self.source.ended or self._pending):
                for view in self.views.values():
                    if late := view.take_late():
                        self._put(view.key, late)
                if self._pending:
                    pending, self._pending, silent_s = self._pending, {}, 0.0
                    yield data({"news": pending})
                elif silent_s > SILENCE_S:
                    silent_s = 0.0
                    yield b": still here\n\n"
                await asyncio.sleep(PERIOD_S)
                silent_s += PERIOD_S
        finally:
            for view in self.views.values():
                feed.remove(view)
