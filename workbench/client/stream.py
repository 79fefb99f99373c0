"""`Stream`: the outputs of one request on their way from the engine to their reader, a thread or an event loop."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from workbench.types import TokenOut

Item = TokenOut | BaseException


class Stream:
    """The outputs of one request, put by the engine's thread with `put_all` and read with `read` or `read_async`."""

    def __init__(self, rid: str) -> None:
        self.rid = rid
        self.is_finished = False
        """Whether the last output has been read, or the reader has left."""
        self.notify: Callable[[list[Stream]], None] | None = None
        """Called after a step with the streams that got outputs, once for all streams that have the same."""
        self.items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        """Outputs that are not read yet, and exceptions that the reader raises."""
        self.ready: asyncio.Queue[Stream] | None = None
        """The queue of the reader in an event loop: the streams that have outputs."""

    def take(self) -> Iterator[TokenOut]:
        """Yields the outputs that have come, without waiting."""
        while not self.is_finished:
            try:
                item = self.items.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, BaseException):
                self.is_finished = True
                raise item
            self.is_finished = item.finish is not None
            yield item


def put_all(items: Iterable[tuple[Stream, Item]]) -> None:
    """Adds the outputs of a step to their streams. Readers wake when all are there. Any thread may call it."""
    due: dict[Callable[[list[Stream]], None], list[Stream]] = {}
    for stream, item in items:
        stream.items.put(item)
        if (notify := stream.notify) is not None:
            due.setdefault(notify, []).append(stream)
    for notify, streams in due.items():
        notify(streams)


def read(streams: Sequence[Stream]) -> Iterator[tuple[int, TokenOut]]:
    """Yields (index of the stream, output) as outputs come, until all streams have finished."""
    ready: queue.SimpleQueue[Sequence[Stream]] = queue.SimpleQueue()
    for stream in streams:
        stream.notify = ready.put
    ready.put(streams)  # for what came before
    index = {stream: i for i, stream in enumerate(streams)}
    num_open = sum(not stream.is_finished for stream in streams)
    while num_open:
        for stream in ready.get():
            for out in stream.take():
                num_open -= stream.is_finished
                yield index[stream], out


async def read_async(streams: Sequence[Stream]) -> AsyncIterator[tuple[int, TokenOut]]:
    """Yields what `read` yields, in an event loop, which it never blocks."""
    ready: asyncio.Queue[Stream] = asyncio.Queue()
    notify = _Wake(asyncio.get_running_loop())
    for stream in streams:
        stream.ready = ready
        stream.notify = notify
        ready.put_nowait(stream)  # for what came before
    index = {stream: i for i, stream in enumerate(streams)}
    num_open = sum(not stream.is_finished for stream in streams)
    while num_open:
        stream = await ready.get()
        for out in stream.take():
            num_open -= stream.is_finished
            yield index[stream], out


@dataclass(frozen=True)
class _Wake:
    """Wakes the readers of streams in an event loop. It is the same for all readers of a loop, so that a step wakes it once."""

    loop: asyncio.AbstractEventLoop

    def __call__(self, streams: list[Stream]) -> None:
        with suppress(RuntimeError):  # the loop has closed, and its readers with it
            self.loop.call_soon_threadsafe(_put_ready, streams)


def _put_ready(streams: list[Stream]) -> None:
    for stream in streams:
        if stream.ready is not None:
            stream.ready.put_nowait(stream)
