"""A live view's Python half: traits go down to pages, `selected` and messages come up. It has a `Reader`, never an engine."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import anywidget
import msgspec
import traitlets
from ipywidgets import widget_serialization

from workbench.errors import InvalidRequest, in_one_line
from workbench.html.parts import View
from workbench.views.fold import Fold
from workbench.views.live.feed import Feed
from workbench.views.live.reader import Reader
from workbench.views.live.scripts import VIEWS, script, styles
from workbench.views.live.still import Still, with_picture
from workbench.views.live.ticker import Ticker
from workbench.views.recorded.recording import Recording, record

FoldT = TypeVar("FoldT", bound=Fold[View])


def as_json(value: Any, widget: Any) -> str:
    """Writes a trait as one JSON string: ipywidgets would walk through its lists in Python."""
    return msgspec.json.encode(value).decode()


def _keep_subshell(comm: Any) -> None:
    """Makes a page's messages arrive in the subshell that the page chose.

    ipykernel 7.4 sends them to the shell that last wrote to the comm. For a view that a cell or the feed writes to, that is
    the main shell, which is busy with the cell. Other versions of ipykernel keep the page's choice.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda data, default: default


class ViewWidget(anywidget.AnyWidget, Generic[FoldT]):
    """Any live view. `widget_class` adds a view's script and style sheet; a view with commands of its own extends `answer`."""

    kind = ""
    """Name of the view, such as "tree"."""
    key = traitlets.Unicode("").tag(sync=True)
    """Name of this view in the messages of its `ticker`."""
    ticker = traitlets.Instance(Ticker).tag(sync=True, **widget_serialization)
    state = traitlets.Dict().tag(sync=True, to_json=as_json)
    """State that is drawn. JavaScript gets a JSON text (`stateOf`)."""
    selected = traitlets.Dict().tag(sync=True)
    """{"kind": "request" | "node" | "step" | "token" | "page" | "part", "id": ...}, or {}. The one trait that JavaScript sets."""
    sees = traitlets.Unicode("").tag(sync=True)
    """Contents of the view, in one line."""
    note = traitlets.Unicode("").tag(sync=True)
    """At most two lines above the picture: why it does not move, or what was asked for and is not there."""
    ended = traitlets.Bool(False).tag(sync=True)
    """True once the engine has ended: pages then offer nothing that needs it."""
    engine = traitlets.Unicode("").tag(sync=True)
    """Key of the engine: views with the same key share their selection."""
    still_key = traitlets.Unicode("").tag(sync=True)
    """Class of the still picture under this view, which pages hide while they draw the view."""

    def __init__(self, reader: Reader[FoldT], **traits: Any) -> None:
        self.reader = reader
        self.is_shown = True
        """True until the last page that drew the view stops drawing it. A view without any page moves too."""
        self._num_pages = self._num_without_ticker = 0
        self.still: Still | None = None
        self._drawn: tuple[FoldT, int] | None = None
        self._has_ticker = False
        """True while all pages that draw the view listen to the ticker."""
        self._latest: dict[str, Any] = {}
        """Traits as they should be; `_news` are those that the ticker has not sent yet."""
        self._news: dict[str, Any] = {}
        feed = Feed.of(reader.source)
        feed.ticker = feed.ticker or Ticker()
        chosen = [view.selected for view in feed.views if isinstance(view, ViewWidget)]
        common = {"engine": reader.source.key, "key": uuid.uuid4().hex, "ticker": feed.ticker, "sees": reader.fold.sees}
        super().__init__(**{**common, "selected": next(filter(None, chosen), {}), **traits})
        self.on_msg(self._receive)
        self.observe(self._follow, names="selected")
        _keep_subshell(self.comm)

    # -- for cells ----------------------------------------------------------------------------------------------

    @property
    def fold(self) -> FoldT:
        """The facts behind the picture, to be asked in Python."""
        return self.reader.fold

    @property
    def selection(self) -> dict[str, Any] | None:
        """The selection in the engine's views: {"kind": ..., "id": ...}; None for nothing."""
        return dict(self.selected) or None

    def picture(self) -> View:
        """Returns the present state as a still picture: text, HTML, `save`."""
        self.reader.read()
        with self.reader.lock:
            return self.fold.picture()

    def recording(self) -> Recording:
        """Returns all that the view has shown since the event log began, for a page without Python."""
        return record({self.kind: self.reader})

    def save(self, path: str | Path, *, live: bool = False) -> None:
        """Writes the present picture to a file of the kind its name ends in; with `live` an `.html` page that plays the run."""
        (self.recording() if live else self.picture()).save(path)

    def close(self) -> None:
        """Closes the view in all pages; the engine goes on."""
        Feed.of(self.reader.source).remove(self)
        super().close()

    def __repr__(self) -> str:
        return self.picture().to_text()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return with_picture(super()._repr_mimebundle_(**kwargs), self.picture())

    def _ipython_display_(self) -> None:
        self.still = self.still or Still(self.reader.source.log, self.picture, self.recording)
        self.still_key = self.still.key
        self.still.display(self._repr_mimebundle_())

    # -- for the feed -------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Shows the fold's state where it changed since the last call."""
        with self.reader.lock:
            fold, version = self.fold, self.fold.version
            if self._drawn is not None and self._drawn[0] is fold and self._drawn[1] == version:
                return
            self._drawn = (fold, version)
            self.show(self.state_now())

    def state_now(self) -> dict[str, Any]:
        """Returns the fold's state; while there is nothing to see, with what to say instead under "empty"."""
        state, empty = self.fold.state(), self.fold.empty
        return {**state, "empty": empty} if empty else state

    def show(self, state: dict[str, Any]) -> None:
        """Changes what pages draw: at once, or with the next message of the ticker where all pages listen to it."""
        traits = {name: value for name, value in self.traits_of(state).items() if value is not self._latest.get(name)}
        self._latest.update(traits)
        if self._has_ticker:
            self._news.update(traits)
        else:
            self._set(traits)

    def traits_of(self, state: dict[str, Any]) -> dict[str, Any]:
        """Returns the traits that show a state. A value that did not change is the same object as before."""
        return {"state": state}

    def take_news(self) -> dict[str, Any]:
        """Returns the traits that the ticker is to send, once."""
        news, self._news = self._news, {}
        return news

    def _set(self, traits: dict[str, Any]) -> None:
        with self.hold_sync():
            for name, value in traits.items():
                setattr(self, name, value)

    def renew(self) -> None:
        """Replaces the still picture under the view."""
        if self.still is not None:
            self.still.renew()

    def settle(self) -> None:
        """Sends all that is not sent yet, and sets the view's own traits, which a saved notebook keeps."""
        with self.ticker.lock:
            self.ticker.send_news([self])
            self._set(self._latest)

    def say(self, note: str) -> None:
        """Changes the note above the picture, and whether the engine has ended."""
        self.ended = bool(self.reader.source.ended)
        if note != self.note:
            self.note = note

    # -- for pages ----------------------------------------------------------------------------------------------

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Handles a message from a page. Returns the reply.

        It runs beside a busy cell where the kernel has subshells, else after it. Raises `InvalidRequest` for a message that
        this view does not have.
        """
        source = self.reader.source
        match asked.get("do"):
            case "abort":
                source.abort(str(asked.get("rid", "")))
                return {}
            case "flush":
                return {"num_tokens": source.engine.flush_cache()}
            case "detail":
                with self.reader.lock:
                    return self.fold.detail(asked)
            case "shown" | "hidden" as word:
                self._count_page(1 if word == "shown" else -1, bool(asked.get("ticker")))
                return {}
        raise InvalidRequest("do", asked.get("do"), "abort, flush, detail, shown or hidden")

    def _follow(self, change: Mapping[str, Any]) -> None:
        """Selects the same in the engine's other views. Pages have done so before: this is for Python."""
        for view in list(Feed.of(self.reader.source).views):
            if isinstance(view, ViewWidget):
                view.selected = change["new"]

    def _count_page(self, more: int, has_ticker: bool) -> None:
        self._num_pages = max(self._num_pages + more, 0)
        if not has_ticker:
            self._num_without_ticker = max(self._num_without_ticker + more, 0)
        self._has_ticker = self._num_pages > self._num_without_ticker == 0
        self._set_shown(self._num_pages > 0)

    def _set_shown(self, is_shown: bool) -> None:
        """Stops a view that no page draws any more, which then costs nothing, and lets it catch up when one does again."""
        self.is_shown = is_shown
        if is_shown:
            Feed.of(self.reader.source).flush()

    def _receive(self, _: Any, message: Mapping[str, Any], buffers: Any) -> None:
        try:
            reply = self.answer(message)
        except Exception as error:  # the page shows it; a traceback here would be lost
            reply = {"error": str(error) if isinstance(error, InvalidRequest) else in_one_line(error)}
        self.send({"ask": message.get("ask"), "reply": msgspec.to_builtins(reply)})


@cache
def widget_class(name: str, base: type[ViewWidget[Any]] = ViewWidget) -> type[ViewWidget[Any]]:
    """Returns the widget class of a view: `base` with the script and the style sheet of the view's folder.

    Each view has a class of its own, since anywidget keeps one style sheet for each class in a page.
    """
    folder = VIEWS / name
    parts = {"kind": name, "_esm": script(folder / "view.js"), "_css": styles(folder / "view.css"), "__module__": base.__module__}
    return type(f"{name.capitalize()}View", (base,), parts)
