"""A live view's Python half: traits down, `selected` and messages up. It knows a `Reader`, never an engine.

`_esm` and `_css` are texts joined from files of this folder, common first; there is no bundler.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import msgspec
import traitlets
from ipywidgets import widget_serialization

from workbench.errors import InvalidRequest, in_one_line
from workbench.events import EventLog
from workbench.html.parts import CSS, View
from workbench.views.fold import Fold
from workbench.views.live.feed import Feed, Reader
from workbench.views.live.ticker import Ticker

HERE = Path(__file__).parent


def module(view: str, *parts: str) -> str:
    """The ES module of one view: `common.js` and its parts as one file, since it is loaded where it has no neighbours."""
    files = [HERE / "common.js", *(HERE.parent / view / f"{part}.js" for part in (*parts, "view"))]
    return "\n".join(file.read_text("utf-8") for file in files)


def styles(name: str) -> str:
    """The rules of static cards, `common.css`, and `<name>.css` where there is one."""
    own = HERE.parent / name / "view.css"
    return "\n".join([CSS, (HERE / "common.css").read_text("utf-8"), *([own.read_text("utf-8")] if own.exists() else [])])


def as_json(value: Any, widget: Any) -> str:
    """As one string: ipywidgets would walk through every list of it, in Python."""
    return msgspec.json.encode(value).decode()


def shown_as(bundle: Any, picture: View) -> tuple[dict[str, Any], dict[str, Any]]:
    """A widget's form in an output, and beside it text and still HTML."""
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
    return {**data, "text/plain": picture.to_text(), "text/html": picture.to_html()}, metadata


NOT_FOUND = ".jp-OutputArea-child:has(+.jp-OutputArea-child .KEY):not(:has(.wb-live)){display:none}"
"""The output before a still picture is hidden where it draws no live view: without a kernel it says that a model is missing."""


class Still:
    """The still picture that stands under a live view in a notebook's output, for pages without a kernel.

    The live view hides it where it is drawn itself; when a cell ends it is renewed, so a saved notebook holds the last state.
    """

    def __init__(self, log: EventLog, picture: Callable[[], View]) -> None:
        self.key = f"wb-still-{uuid.uuid4().hex}"
        self._log = log
        self._picture = picture
        self._handle: Any = None
        self._number = -1

    def display(self, bundle: Any) -> None:
        """Two outputs: the live view, and the still one under it."""
        from IPython.display import display

        data, metadata = bundle
        data = {kind: value for kind, value in data.items() if kind != "text/html"} | {
            "text/plain": "a live view; what it shows:"
        }
        display(data, metadata=metadata, raw=True)
        self._number = self._log.num_added
        self._handle = display(self._outputs(), raw=True, display_id=True)

    def renew(self) -> None:
        if self._handle is not None and self._number != self._log.num_added:
            self._number = self._log.num_added
            self._handle.update(self._outputs(), raw=True)

    def _outputs(self) -> dict[str, str]:
        picture = self._picture()
        html = f'<style>{NOT_FOUND.replace("KEY", self.key)}</style><div class="{self.key}">{picture.to_html()}</div>'
        return {"text/plain": picture.to_text(), "text/html": html}


def _take_messages_where_the_page_sends_them(comm: Any) -> None:
    """ipykernel 7.4 sends a page's messages to whichever shell last wrote to the comm: for a view that a cell or the feed writes
    to, the main one, busy with that cell. The page has chosen a subshell; other versions of ipykernel respect that."""
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda data, default: default


class ViewWidget(anywidget.AnyWidget):
    """Subclasses set `_esm = module(name)` and `_css = styles(name)`, and may add commands in `answer`."""

    key = traitlets.Unicode("").tag(sync=True)
    """Of this view in the messages of its `ticker`."""
    ticker = traitlets.Instance(Ticker).tag(sync=True, **widget_serialization)
    state = traitlets.Dict().tag(sync=True, to_json=as_json)
    """What is drawn. In JavaScript a JSON text: `stateOf(model)`."""
    selected = traitlets.Dict().tag(sync=True)
    """{"kind": "request" | "node" | "step" | "token" | "page" | "part", "id": ...}, or {}. The one trait JavaScript writes."""
    sees = traitlets.Unicode("").tag(sync=True)
    """What one sees in it, in one line."""
    note = traitlets.Unicode("").tag(sync=True)
    """At most two lines above the picture: why it does not move, or what was asked for and is not there."""
    ended = traitlets.Bool(False).tag(sync=True)
    """The engine answers no more: pages offer nothing that would ask it."""
    engine = traitlets.Unicode("").tag(sync=True)
    """Views with the same key follow each other's selection."""
    still_key = traitlets.Unicode("").tag(sync=True)
    """Class of the still picture that this view stands in for: hidden while it is drawn."""

    def __init__(self, reader: Reader, **traits: Any) -> None:
        self.reader = reader
        self.is_shown = True
        """Until a page that drew it says that it no longer does: in a run without a page it moves too."""
        self._num_pages = self._num_deaf = 0
        self.still: Still | None = None
        self._drawn: tuple[Fold, int] | None = None
        self._hears = False
        """Whether all pages that draw it listen to the ticker."""
        self._latest: dict[str, Any] = {}
        """Traits as they should be; `_news` are those that pages were not told of."""
        self._news: dict[str, Any] = {}
        feed = Feed.of(reader.source)
        feed.ticker = feed.ticker or Ticker()
        chosen = [view.selected for view in feed.views if isinstance(view, ViewWidget)]
        common = {"engine": reader.source.key, "key": uuid.uuid4().hex, "ticker": feed.ticker, "sees": reader.fold.sees}
        super().__init__(**{**common, "selected": next(filter(None, chosen), {}), **traits})
        self.on_msg(self._receive)
        self.observe(self._follow, names="selected")
        _take_messages_where_the_page_sends_them(self.comm)

    # -- Python's side ------------------------------------------------------------------------------------------

    @property
    def fold(self) -> Fold:
        """The facts behind the picture, to be asked in Python."""
        return self.reader.fold

    @property
    def selection(self) -> dict[str, Any] | None:
        """What is selected, here or in a view of the same engine: {"kind": ..., "id": ...}; None for nothing."""
        return dict(self.selected) or None

    def picture(self) -> View:
        """The present state as a still picture: text, HTML, `save`."""
        self.reader.read()
        with self.reader.lock:
            return self.fold.picture()

    def save(self, path: str | Path) -> None:
        """Write the present picture to a file, of the kind its name ends in."""
        self.picture().save(path)

    def close(self) -> None:
        Feed.of(self.reader.source).remove(self)
        super().close()

    def __repr__(self) -> str:
        return self.picture().to_text()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return shown_as(super()._repr_mimebundle_(**kwargs), self.picture())

    def _ipython_display_(self) -> None:
        self.still = self.still or Still(self.reader.source.log, self.picture)
        self.still_key = self.still.key
        self.still.display(self._repr_mimebundle_())

    # -- the feed's side ----------------------------------------------------------------------------------------

    def refresh(self) -> None:
        with self.reader.lock:
            now = (self.fold, self.fold.version)
            if self._drawn is not None and self._drawn[0] is now[0] and self._drawn[1] == now[1]:
                return
            self._drawn = now
            self.show(self.state_now())

    def state_now(self) -> dict[str, Any]:
        """What the fold draws; with `empty` what to say while that is nothing."""
        state, empty = self.fold.state(), self.fold.empty
        return {**state, "empty": empty} if empty else state

    def show(self, state: dict[str, Any]) -> None:
        """Changes: what pages draw; at once, or with the next message of the ticker."""
        traits = {name: value for name, value in self.traits_of(state).items() if value is not self._latest.get(name)}
        self._latest.update(traits)
        if self._hears:
            self._news.update(traits)
        else:
            self._set(traits)

    def traits_of(self, state: dict[str, Any]) -> dict[str, Any]:
        """The traits that show this state of the fold. What did not change is the same object as before."""
        return {"state": state}

    def take_news(self) -> dict[str, Any]:
        """What the ticker has to tell of this view."""
        news, self._news = self._news, {}
        return news

    def _set(self, traits: dict[str, Any]) -> None:
        with self.hold_sync():
            for name, value in traits.items():
                setattr(self, name, value)

    def renew(self) -> None:
        if self.still is not None:
            self.still.renew()

    def settle(self) -> None:
        """Pages know all, also what waited since it is slow to draw, and the view's own traits say it."""
        with self.ticker.lock:
            self.ticker.tell([self])
            self._set(self._latest)

    def say(self, note: str) -> None:
        self.ended = bool(self.reader.source.ended)
        if note != self.note:
            self.note = note

    # -- JavaScript's side --------------------------------------------------------------------------------------

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to a message from the page. Runs beside a busy cell where the kernel has subshells, else after it."""
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
                self._count_page(1 if word == "shown" else -1, bool(asked.get("hears")))
                return {}
        raise InvalidRequest("do", asked.get("do"), "abort, flush, detail, shown or hidden")

    def _follow(self, change: Mapping[str, Any]) -> None:
        """The other views of the engine select the same. In the page they have done so before: this is for Python."""
        for view in list(Feed.of(self.reader.source).views):
            if isinstance(view, ViewWidget):
                view.selected = change["new"]

    def _count_page(self, more: int, hears: bool) -> None:
        self._num_pages = max(self._num_pages + more, 0)
        if not hears:
            self._num_deaf = max(self._num_deaf + more, 0)
        self._hears = self._num_pages > self._num_deaf == 0
        self._set_shown(self._num_pages > 0)

    def _set_shown(self, is_shown: bool) -> None:
        """A view that no page draws any more costs nothing; when one does again it catches up."""
        self.is_shown = is_shown
        if is_shown:
            Feed.of(self.reader.source).flush()

    def _receive(self, _: Any, message: Mapping[str, Any], buffers: Any) -> None:
        try:
            reply = self.answer(message)
        except Exception as error:  # shown where it was asked; a traceback would go to nobody
            reply = {"error": str(error) if isinstance(error, InvalidRequest) else in_one_line(error)}
        self.send({"ask": message.get("ask"), "reply": msgspec.to_builtins(reply)})
