"""How far a long piece of work is: a bar for each piece where `tqdm` is installed, and a relay from thread to thread."""

from __future__ import annotations

import queue
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

Progress = Callable[[str, int, int], None]
"""Called with (what is done, bytes so far, bytes in all), many times a second."""
IMPORTING, READING = "importing torch", "reading the weights"
"""Pieces of work that have no bytes to count: reported with a total of 0."""


class Relay:
    """A `Progress` that carries its calls to the thread that waits for the result: callbacks and displays belong there."""

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[tuple[str, int, int] | None] = queue.SimpleQueue()

    def __call__(self, what: str, done: int, total: int) -> None:
        self._news.put((what, done, total))

    def wait(self, future: Future[Any], progress: Progress | None) -> Any:
        """Returns the future's result or raises its error, after passing on all that was reported before it."""
        future.add_done_callback(lambda _: self._news.put(None))
        for news in iter(self._news.get, None):
            if progress is not None:
                progress(*news)
        return future.result()


class Bars:
    """A `Progress`: one bar for each piece of work, closed when that is complete or the next begins."""

    def __init__(self) -> None:
        self._what = ""
        self._bar: Any = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.close()
            self._what, self._bar = what, _new_bar(what, total)
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
            if done >= total:
                self._bar.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _new_bar(what: str, total: int) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "IProgress not found": a text bar does as well
            from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(desc=what, total=total, unit="B", unit_scale=True, mininterval=0.5)
