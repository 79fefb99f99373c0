"""`Stream`: the outputs of one request on their way from the engine to their reader, a thread or an event loop."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from workbench.types import TokenOut


class Stream:
    """The outputs of one request, put by the engine's thread and read with `read` or `read_async`."""

    def __init__(self, rid: str) -> None:
        self.rid = rid
        self.is_finished = False
        """Whether the last output has been read, or the reader has left."""
        self.notify: Callable[[], None] | None = None
        self._items: queue.SimpleQueue[TokenOut | BaseException] = queue.SimpleQueue()

    def put(self, item: TokenOut | BaseException) -> None:
        """Adds an output, or an exception that the reader raises. Any thread may call it."""
        self._items.put(item)
        if self.notify is not None:
            self.notify()

    def take(self) -> Iterator[TokenOut]:
        """Yields the outputs that have come, without waiting."""
        while not self.is_finished:
            try:
                item = self._items.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, BaseException):
                self.is_finished = True
                raise item
            self.is_finished = item.finish is not None
            yield item


def read(streams: Sequence[Stream]) -> Iterator[tuple[int, TokenOut]]:
    """Yields (index of the stream, output) as outputs come, until all streams have finished."""
    ready: queue.SimpleQueue[int] = queue.SimpleQueue()
    for i, stream in enumerate(streams):
        stream.notify = partial(ready.put, i)
        ready.put(i)  # for what came before
    while not all(stream.is_finished for stream in streams):
        i = ready.get()
        for out in streams[i].take():
            yield i, out


async def read_async(streams: Sequence[Stream]) -> AsyncIterator[tuple[int, TokenOut]]:
    """Yields what `read` yields, in an event loop, which it never blocks."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()

    def notify() -> None:
        with suppress(RuntimeError):  # the loop has closed, and its reader with it
            loop.call_soon_threadsafe(ready.set)

    for stream in streams:
        stream.notify = notify
    while True:
        ready.clear()
        for i, stream in enumerate(streams):
            for out in stream.take():
                yield i, out
        if all(stream.is_finished for stream in streams):
            return
        await ready.wait()
