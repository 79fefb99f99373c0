"""`RemoteClient`: the client of an engine behind a server, which follows its event log and sends it questions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import msgspec

from workbench.client.answers import News, Snapshot
from workbench.client.forward import forwarding
from workbench.client.protocol import EngineCalls
from workbench.client.stream import Stream
from workbench.client.waiters import answer
from workbench.errors import SHUT_DOWN, BackendFailed, EngineDead, NotSupported, WorkbenchError
from workbench.events import EventLog
from workbench.lang.backends.http import Server
from workbench.process.messages import ONE_VERSION, messages_of
from workbench.types import Request

QUESTIONS = ("get_load", "match_prefix", "now", "snapshot", "weights")
CHANGES = ("continue_generation", "flush_cache", "measure_bandwidth", "pause_generation", "token_detail")
"""Calls that change the engine or hold it up, which `read_only` refuses."""
MESSAGES = messages_of(EngineCalls)
LENGTH_BYTES = 4
"""Each message of the event stream follows its length."""
MOST_EVENTS = 2000
"""Events of one message; it has fewer if no more are there."""
PAUSE_S, PATIENCE_S = 0.5, 30.0
"""Seconds between two attempts to reach a server that is away, and until it counts as ended."""
SNAPSHOT_WAIT_S = 10.0
AWAY = (BackendFailed, OSError)


class RemoteClient:
    """An `EngineClient` that reads. It generates nothing."""

    def __init__(self, server: Server, *, read_only: bool, log_size: int, history: int) -> None:
        """Follows the log, which begins with the last `history` events that the server holds.

        Raises BackendFailed, and NotSupported for events of another version.
        """
        self.log = EventLog(log_size)
        self.engine: EngineCalls = forwarding(self._start)
        self.ended = ""
        self._server = server
        self._allowed = QUESTIONS if read_only else QUESTIONS + CHANGES
        self._history = history
        self._cut: Callable[[], None] = lambda: None
        self._is_closing = False
        self._has_begun = threading.Event()
        self._refused: WorkbenchError | None = None
        self._thread = threading.Thread(target=self._follow, name="workbench-attach", daemon=True)
        self._thread.start()
        self._has_begun.wait()
        if self._refused is not None:
            raise self._refused

    def submit(self, requests: Sequence[Request]) -> list[Stream]:
        raise NotSupported("an attached engine is only watched", hint="workbench.RuntimeEndpoint(url) runs programs on it")

    def abort(self, rid: str, message: str = "") -> None:
        if "flush_cache" not in self._allowed:
            raise self._reads_only("abort")
        self._server.call("POST", "/abort_request", {"rid": rid})

    def close(self) -> None:
        self._is_closing, self.ended = True, SHUT_DOWN
        self._cut()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # -- calls, on the caller's thread --------------------------------------------------------------------------

    def _start(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        answer(future, lambda: self._call(call.__name__, *args, **kwargs))
        return future

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if name not in self._allowed:
            raise self._reads_only(name)
        message = MESSAGES[name]
        arguments = msgspec.to_builtins(message.arguments(*args, **kwargs))
        try:
            body = self._server.read("POST", f"/engine/call/{name}", arguments)
        except BackendFailed as error:
            if error.status in (None, 503):
                raise EngineDead(str(error)) from None
            raise
        result = msgspec.msgpack.decode(body, type=message.result)
        if isinstance(result, Snapshot):
            self._await(result)
        return result

    def _reads_only(self, name: str) -> NotSupported:
        if name in CHANGES or name == "abort":
            hint = "attach(url, read_only=False) may change it"
        else:
            hint = "ask the server itself"
        return NotSupported(f"{name}: this engine is only watched", hint=hint)

    def _await(self, snapshot: Snapshot) -> None:
        """Waits until the log has the event that the snapshot was taken: what follows it is not part of the state."""
        deadline = time.monotonic() + SNAPSHOT_WAIT_S
        number = max(self.log.num_added - 1000, 0)
        while time.monotonic() < deadline:
            first, events = self.log.read(number)
            if snapshot.taken in events:
                return
            number = first + len(events)
            time.sleep(0.01)
        raise EngineDead("the server's events do not arrive")

    # -- on the thread that follows -----------------------------------------------------------------------------

    def _follow(self) -> None:
        decoder = msgspec.msgpack.Decoder(News)
        away_since: float | None = None
        while not self._is_closing:
            try:
                for message in self._messages():
                    away_since = None
                    self._take(decoder.decode(message))
            except msgspec.DecodeError as error:
                unknown = f"the server sent an event that is not known here ({error})"
                self._end(NotSupported(unknown, hint=ONE_VERSION))
                return
            except AWAY as error:
                if not self._has_begun.is_set():
                    self._end(error if isinstance(error, WorkbenchError) else BackendFailed(str(error)))
                    return
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > PATIENCE_S:
                    self._end(BackendFailed(f"no server answers at {self._server.url}"))
                    return
            if not self._is_closing:
                time.sleep(PAUSE_S)

    def _end(self, error: WorkbenchError) -> None:
        """Ends for good. Where nothing had begun yet, the constructor raises the error."""
        if not self._has_begun.is_set():
            self._refused = error
        self.ended = self.ended or str(error)
        self._has_begun.set()

    def _messages(self) -> Iterator[bytes]:
        """Yields the messages of the event stream until it ends. What is raised in here counts as a fault of the connection."""
        path = f"/engine/events?history={0 if self._has_begun.is_set() else self._history}"
        with self._server.response("GET", path, None, self._watch) as response:
            while head := response.read(LENGTH_BYTES):
                length = int.from_bytes(head, "big")
                body = response.read(length)
                if len(body) < length:
                    return
                yield body

    @contextmanager
    def _watch(self, cut: Callable[[], None]) -> Iterator[None]:
        self._cut = cut
        if self._is_closing:
            cut()
        yield

    def _take(self, news: News) -> None:
        if self._is_closing:
            return
        if news.num_lost:
            self.log.skip(news.num_lost)
        for event in news.events:
            self.log.add(event)
        self.ended = news.ended
        if len(news.events) < MOST_EVENTS:  # all that the server held has come
            self._has_begun.set()


def address(url: str, api_key: str | None, timeout_s: float | None = None) -> Server:
    """Returns the server at a URL. Raises InvalidRequest for an address without a scheme."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return Server(url.removesuffix("/").removesuffix("/v1"), headers, timeout_s=timeout_s)
