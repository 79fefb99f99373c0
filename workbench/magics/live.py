"""Shows text while it is generated: one output updated in place in a notebook, plain writing in a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from workbench.html.escape import to_html, visible
from workbench.html.parts import card
from workbench.views import Loading

MIN_INTERVAL_S = 0.05
"""Shortest time between two updates, in seconds."""


class Live(Protocol):
    """A place on the screen where growing text is shown."""

    echoes: bool
    """True if the text stays on the screen after `close`."""

    def show(self, text: str) -> None:
        """Shows `text`, which is the whole text so far."""

    def close(self) -> None:
        """Ends the display; the result follows."""

    def interrupt(self, note: str) -> None:
        """Ends the display without a result: the text stays, with a note."""


class Quiet:
    """Shows nothing."""

    echoes = False

    def show(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass

    def interrupt(self, note: str) -> None:
        pass


class CellPlace:
    """One output of a cell, which each drawing replaces."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn_at = float("-inf")

    @property
    def is_due(self) -> bool:
        """True if `MIN_INTERVAL_S` has passed since the last drawing."""
        return time.monotonic() - self._drawn_at >= MIN_INTERVAL_S

    @property
    def is_empty(self) -> bool:
        return self._handle is None

    def draw(self, text: str, html: str) -> None:
        from IPython.display import display

        self._drawn_at = time.monotonic()
        data = {"text/plain": text, "text/html": html}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def clear(self) -> None:
        """Makes the output empty. Does nothing if it was never drawn."""
        if self._handle is not None:
            self.draw("", "")


class InNotebook:
    """A display that the result replaces."""

    echoes = False

    def __init__(self) -> None:
        self._place = CellPlace()
        self._text = ""

    def show(self, text: str) -> None:
        self._text = text
        if self._place.is_due:
            self._draw("…")

    def close(self) -> None:
        self._place.clear()

    def interrupt(self, note: str) -> None:
        if not self._place.is_empty:
            self._draw(f" [{note}]")

    def _draw(self, tail: str) -> None:
        html = f'<div class="wb-text wb-out">{to_html(self._text)}<span class="wb-soft">{to_html(tail)}</span></div>'
        self._place.draw(visible(self._text) + tail, card(html))


class InTerminal:
    """Writes each new piece once; replaces nothing."""

    echoes = True

    def __init__(self) -> None:
        self._num_shown = 0

    def show(self, text: str) -> None:
        sys.stdout.write(visible(text[self._num_shown :]))
        sys.stdout.flush()
        self._num_shown = len(text)

    def close(self) -> None:
        if self._num_shown:
            sys.stdout.write("\n")

    def interrupt(self, note: str) -> None:
        if self._num_shown:
            sys.stdout.write(f" [{note}]\n")


class LoadShown(Protocol):
    """The display of `%wb load` until the engine is ready. Called as a `Progress`."""

    def __call__(self, what: str, done: int, total: int) -> None: ...
    def close(self) -> None: ...


class LoadInNotebook:
    """A progress bar that disappears at the end."""

    def __init__(self, model: str) -> None:
        self._place = CellPlace()
        self._model = model
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what or self._place.is_due:
            self._what = what
            now = Loading(self._model, what, done, total)
            self._place.draw(now.to_text(), now.to_html())

    def close(self) -> None:
        self._place.clear()


class LoadInTerminal:
    """One line that names each piece of work as it begins."""

    def __init__(self, model: str) -> None:
        self._named: list[str] = []
        sys.stdout.write(visible(f"loading {model}"))

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._named:
            sys.stdout.write(visible(f"{', ' if self._named else ': '}{what}"))
            sys.stdout.flush()
            self._named.append(what)

    def close(self) -> None:
        sys.stdout.write("\n")


def loading(shell: Any, model: str) -> LoadShown:
    return LoadInNotebook(model) if _is_notebook(shell) else LoadInTerminal(model)


def _is_notebook(shell: Any) -> bool:
    return getattr(shell, "kernel", None) is not None


def live(shell: Any, *, quiet: bool) -> Live:
    """Returns the display for this frontend. Only a kernel has outputs that can be updated."""
    if quiet:
        return Quiet()
    return InNotebook() if _is_notebook(shell) else InTerminal()
