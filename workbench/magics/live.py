"""Text that appears while it is made: one output updated in place in a notebook, plain writing in a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from workbench.escape import to_html, visible
from workbench.views.parts import card

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


class InNotebook:
    """A display that the result replaces."""

    echoes = False

    def __init__(self) -> None:
        self._handle: Any = None
        self._text = ""
        self._shown_at = float("-inf")

    def show(self, text: str) -> None:
        self._text = text
        if (now := time.monotonic()) - self._shown_at >= MIN_INTERVAL_S:
            self._shown_at = now
            self._draw("…")

    def close(self) -> None:
        if self._handle is not None:
            self._handle.update({"text/plain": "", "text/html": ""}, raw=True)

    def interrupt(self, note: str) -> None:
        if self._handle is not None:
            self._draw(f" [{note}]")

    def _draw(self, tail: str) -> None:
        from IPython.display import display

        html = f'<div class="wb-text wb-out">{to_html(self._text)}<span class="wb-soft">{to_html(tail)}</span></div>'
        data = {"text/plain": visible(self._text) + tail, "text/html": card(html)}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


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


def live(shell: Any, *, quiet: bool) -> Live:
    """For this frontend: only a kernel has outputs that can be updated."""
    if quiet:
        return Quiet()
    return InNotebook() if getattr(shell, "kernel", None) is not None else InTerminal()
