"""Text that appears while it is made: one output updated in place in a notebook, plain writing in a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from workbench.html.escape import to_html, visible
from workbench.html.parts import card
from workbench.views import Loading

MIN_INTERVAL_S = 0.05
"""At most 20 updates a second."""


class Live(Protocol):
    echoes: bool
    """Whether the text stands on the screen after `close`."""

    def show(self, text: str) -> None:
        """`text` is all there is so far."""

    def close(self) -> None:
        """The result follows."""

    def interrupt(self, note: str) -> None:
        """No result follows: what was shown stays, with a note."""


class Quiet:
    echoes = False

    def show(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass

    def interrupt(self, note: str) -> None:
        pass


class Place:
    """One output of a cell, drawn over as often as there is news."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn_at = float("-inf")

    @property
    def is_due(self) -> bool:
        """Whether the last drawing has been there for long enough."""
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
        """Takes no room from now on; what was never drawn stays so."""
        if self._handle is not None:
            self.draw("", "")


class InNotebook:
    """A display that the result replaces."""

    echoes = False

    def __init__(self) -> None:
        self._place = Place()
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
    """Each new piece is written once; nothing is drawn over."""

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
    """What `%wb load` shows until the engine is there. To be called as a `Progress`."""

    def __call__(self, what: str, done: int, total: int) -> None: ...
    def close(self) -> None: ...


class LoadInNotebook:
    """A bar that fills, gone at the end."""

    def __init__(self, model: str) -> None:
        self._place = Place()
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
        self._whats: list[str] = []
        sys.stdout.write(visible(f"loading {model}"))

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._whats:
            sys.stdout.write(visible(f"{', ' if self._whats else ': '}{what}"))
            sys.stdout.flush()
            self._whats.append(what)

    def close(self) -> None:
        sys.stdout.write("\n")


def loading(shell: Any, model: str) -> LoadShown:
    return LoadInNotebook(model) if _is_notebook(shell) else LoadInTerminal(model)


def _is_notebook(shell: Any) -> bool:
    return getattr(shell, "kernel", None) is not None


def live(shell: Any, *, quiet: bool) -> Live:
    """For this frontend: only a kernel has outputs that can be updated."""
    if quiet:
        return Quiet()
    return InNotebook() if _is_notebook(shell) else InTerminal()
