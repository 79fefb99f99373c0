"""What a face of the engine talks to: requests go in, a stream of `TokenOut` comes back for each.

The engine may be a thread beside the caller (`engine.worker`) or a child process (`engine.process`); both are a `Client`.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from workbench.errors import EngineDead
from workbench.events import EventLog
from workbench.types import Request, TokenOut


class Stream:
    """One request's outputs, put by the engine's thread and read by `read` or `read_async`."""

    def __init__(self, rid: str) -> None:
        self.rid = rid
        self.is_finished = False
        """The last output was read."""
        self.notify: Callable[[], None] | None = None
        self._items: queue.SimpleQueue[TokenOut | BaseException] = queue.SimpleQueue()

    def put(self, item: TokenOut | BaseException) -> None:
        """From the engine's side; any thread. An exception is raised in the reader."""
        self._items.put(item)
        if self.notify is not None:
            self.notify()

    def take(self) -> Iterator[TokenOut]:
        """What is there now; waits for nothing."""
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
    """(index of the stream, output) as they come, until all have finished."""
    ready: queue.SimpleQueue[int] = queue.SimpleQueue()
    for i, stream in enumerate(streams):
        stream.notify = partial(ready.put, i)
        ready.put(i)  # for what came before
    while not all(stream.is_finished for stream in streams):
        i = ready.get()
        for out in streams[i].take():
            yield i, out


async def read_async(streams: Sequence[Stream]) -> AsyncIterator[tuple[int, TokenOut]]:
    """The same in an event loop, which it never blocks."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()

    def notify() -> None:
        with suppress(RuntimeError):  # the loop has closed: nobody reads any more
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


class Client(Protocol):
    log: EventLog

    def submit(self, requests: Sequence[Request]) -> list[Stream]:
        """One stream per request. Raises for the first that can never be served, and then none is queued."""

    def abort(self, rid: str, message: str = "aborted by the caller") -> None:
        """Ends a request, or all samples of a group, soon; streams end with finish type "abort". Unknown ids are ignored."""

    def call(self, name: str, *args: Any) -> Any:
        """One of the engine's questions by name (`flush_cache`, `load`, `snapshot`, ...), answered between two steps."""

    @property
    def ended(self) -> str:
        """Why the engine answers no more; empty while it lives."""

    def close(self) -> None:
        """Ends the engine; open requests end with `EngineDead`. Returns when its threads, processes and memory are gone."""


class DetailSwitch:
    """Token detail of one engine: on while anybody needs it, each known by `who`. Any thread may use it."""

    def __init__(self, client: Client) -> None:
        """Weak: a view somebody keeps does not keep the model of an engine that was shut down."""
        self._client = weakref.ref(client)
        self._holders: set[object] = set()
        self._lock = threading.Lock()

    @property
    def is_on(self) -> bool:
        return bool(self._holders)

    def is_held(self, who: object) -> bool:
        return who in self._holders

    def set(self, who: object, on: bool) -> None:
        """Raises `EngineDead` where it is wanted and there is no engine any more."""
        with self._lock:
            was_on = self.is_on
            (self._holders.add if on else self._holders.discard)(who)
            if self.is_on != was_on:
                self._send(who, on)

    def _send(self, who: object, on: bool) -> None:
        client = self._client()
        try:
            if client is None:
                raise EngineDead("the engine was shut down", hint="load it again")
            client.call("token_detail", on)
        except EngineDead:
            self._holders.discard(who)
            if on:
                raise


class Closed:
    """The client of an engine that was shut down."""

    ended = "the engine was shut down"

    def __init__(self, log: EventLog) -> None:
        self.log = log

    def submit(self, requests: Sequence[Request]) -> list[Stream]:
        raise EngineDead(self.ended, hint="load it again")

    def abort(self, rid: str, message: str = "") -> None:
        pass

    def call(self, name: str, *args: Any) -> Any:
        raise EngineDead(self.ended, hint="load it again")

    def close(self) -> None:
        pass
