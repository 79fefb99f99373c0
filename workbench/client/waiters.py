"""Waiters of one engine: the streams of its unfinished requests and the futures of its unanswered calls.

Both kinds of client keep theirs here. When the engine ends, every waiter gets `EngineDead`, and new ones are refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from workbench.client.stream import Stream, put_all
from workbench.errors import EngineDead, InvalidRequest
from workbench.types import TokenOut


class Waiters:
    """Any thread may add waiters; one thread at a time serves them."""

    def __init__(self) -> None:
        self.ended = ""
        """The reason why the engine has ended; empty while it lives."""
        self._streams: dict[str, Stream] = {}
        self._calls: set[Future[Any]] = set()
        self._lock = threading.Lock()

    def open_streams(self, rids: Sequence[str], check: Callable[[int], None] = lambda num_open: None) -> list[Stream]:
        """Opens one stream for each request id.

        `check` is called with the number of streams that are open and may raise. Raises `EngineDead`, and `InvalidRequest`
        for an id that is in use or comes twice; no stream is opened then.
        """
        with self._lock:
            self._check_alive()
            check(len(self._streams))
            opened: dict[str, Stream] = {}
            for rid in rids:
                if rid in self._streams or rid in opened:
                    raise InvalidRequest("rid", rid, "an id that is not in use")
                opened[rid] = Stream(rid)
            self._streams |= opened
        return list(opened.values())

    def put(self, outputs: Iterable[TokenOut]) -> None:
        """Gives the outputs of a step to their streams; the last one of a stream closes it. Ignores those of closed streams."""
        put_all((stream, out) for out in outputs if (stream := self._stream_of(out)) is not None)

    def fail(self, rid: str, error: BaseException) -> None:
        """Closes a stream with an error, which its reader raises."""
        stream = self._streams.pop(rid, None)
        if stream is not None:
            put_all([(stream, error)])

    def forget(self, rids: Iterable[str]) -> None:
        """Closes streams that have no reader."""
        for rid in rids:
            self._streams.pop(rid, None)

    def call(self) -> Future[Any]:
        """Returns the future of a new call. Raises `EngineDead`."""
        future: Future[Any] = Future()
        with self._lock:
            self._check_alive()
            self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        return future

    def end(self, reason: str) -> None:
        """Ends every waiter with `EngineDead`. Refuses new ones from here on."""
        with self._lock:
            self.ended = reason
            streams, self._streams = self._streams, {}
            calls = list(self._calls)
        put_all((stream, EngineDead(reason)) for stream in streams.values())
        for future in calls:
            with suppress(InvalidStateError):  # its caller gave it up
                future.set_exception(EngineDead(reason))

    def _stream_of(self, out: TokenOut) -> Stream | None:
        return self._streams.get(out.rid) if out.finish is None else self._streams.pop(out.rid, None)

    def _check_alive(self) -> None:
        if self.ended:
            raise EngineDead(self.ended)


def answer(future: Future[Any], make: Callable[[], Any]) -> None:
    """Calls `make` and puts its result or its error into the future, unless that was given up."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = make()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
