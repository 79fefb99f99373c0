"""Text that grows while readers follow it, and values that readers wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any


class Flow:
    """Pieces of text in order. Any number of readers follow it from the start, in threads or event loops."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._error: BaseException | None = None
        self._is_closed = False
        self._changed = threading.Condition()
        self._watchers: list[Callable[[], None]] = []

    def put(self, piece: str) -> None:
        if piece and not self._is_closed:
            self._pieces.append(piece)
            self._wake()

    def close(self, error: BaseException | None = None) -> None:
        """Ends the text; readers get `error` after the pieces. A second call changes nothing."""
        with self._changed:
            if self._is_closed:
                return
            self._error, self._is_closed = error, True
        self._wake()

    def wait(self) -> None:
        """Waits until it is closed. Raises its error."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed)
        if self._error is not None:
            raise self._error

    def __iter__(self) -> Iterator[str]:
        num_read = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or len(self._pieces) > num_read)  # noqa: B023
            while num_read < len(self._pieces):
                num_read += 1
                yield self._pieces[num_read - 1]
            if self._is_closed and num_read == len(self._pieces):
                break
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[str]:
        loop, changed, num_read = asyncio.get_running_loop(), asyncio.Event(), 0

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has closed: there is no reader any more
                loop.call_soon_threadsafe(changed.set)

        self._watchers.append(wake)
        try:
            while True:
                changed.clear()
                is_last = self._is_closed  # read before the pieces: later ones set the event
                while num_read < len(self._pieces):
                    num_read += 1
                    yield self._pieces[num_read - 1]
                if is_last:
                    break
                await changed.wait()
        finally:
            self._watchers.remove(wake)
        if self._error is not None:
            raise self._error

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
        for watcher in list(self._watchers):
            watcher()


class Slot:
    """The future value of a variable: one generation, selection or scope."""

    def __init__(self) -> None:
        self.flow = Flow()
        self.meta_info: Any = {}
        self._value: Any = None

    def set(self, value: Any, meta_info: Any) -> None:
        self._value, self.meta_info = value, meta_info
        self.flow.close()

    def fail(self, error: BaseException) -> None:
        self.flow.close(error)

    def result(self) -> Any:
        """Waits for the value and returns it. Raises the error of its generation."""
        self.flow.wait()
        return self._value
