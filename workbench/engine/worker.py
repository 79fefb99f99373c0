"""The engine on its own thread: an inbox in, a callback out, and the client that sits beside it.

Behind the inbox everything is single-threaded. While it steps, the interpreter's switch interval is lowered, so that
it does not starve beside a busy cell.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from msgspec import structs

from workbench.client import Stream
from workbench.engine.core import EngineCore
from workbench.engine.progress import Progress
from workbench.errors import EngineDead, InvalidRequest, in_one_line
from workbench.switch_interval import QUICK_S, switching
from workbench.types import Request, TokenOut

logger = logging.getLogger("workbench.engine")
LONGEST_WAIT_S = 3600.0
"""Operating systems do not wait for any number of seconds at once."""
Prepare = Callable[[Request], tuple[Any, Any]]
"""(matcher, processor) of a request; takes its time, on the caller's thread. Raises what the caller should see.

The matcher may be a `Future` of one: the request is queued and waits for it, its error is the request's. It is cancelled
when the request ends before.
"""


class EngineThread:
    """The one thread that touches torch: the model is loaded on it and the loop runs on it.

    Each thread that computes brings a team of OpenMP workers with it, and with more of those than cores every parallel
    region of a CPU takes twice as long (measured: a forward pass of one token 18 ms instead of 10 ms on two cores).
    """

    def __init__(self) -> None:
        self._actions: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="workbench-engine", daemon=True)
        self._thread.start()

    def start(self, make: Callable[[], Any]) -> Future[Any]:
        """Runs `make` on the thread; what it returns or raises."""
        future: Future[Any] = Future()

        def act() -> None:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)

        self._actions.put(act)
        return future

    def end_with(self, action: Callable[[], None]) -> None:
        """Runs `action` as the last thing the thread does; waits for nothing."""
        self._actions.put(action)
        self._actions.put(None)

    def join(self) -> None:
        self._actions.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (action := self._actions.get()) is not None:
            action()
            del action  # it holds the engine, whose memory should go when its owner lets go


class Worker:
    """Runs a core on a thread. `deliver` gets the outputs of each step, `died` the reason if the loop breaks."""

    def __init__(
        self,
        core: EngineCore,
        deliver: Callable[[list[TokenOut]], None],
        died: Callable[[str], None],
        questions: dict[str, Callable[..., Any]],
        thread: EngineThread,
    ) -> None:
        self.core = core
        self._deliver = deliver
        self._died = died
        self._questions = questions
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closing = False
        self._asked: set[Future[Any]] = set()
        self._ended = ""
        self._lock = threading.Lock()
        self._thread = thread
        thread.end_with(self._run)

    def send(self, action: Callable[[], None]) -> None:
        """Runs `action` on the engine's thread, between two steps."""
        self._inbox.put(action)

    def ask(self, name: str, *args: Any) -> Future[Any]:
        """The answer of one of the engine's questions, found on its thread."""
        if name not in self._questions:
            raise InvalidRequest("question", name, f"one of {', '.join(self._questions)}")
        future: Future[Any] = Future()

        def answer() -> None:
            self._asked.discard(future)
            try:
                future.set_result(self._questions[name](*args))
            except Exception as error:
                future.set_exception(error)

        with self._lock:
            if self._ended:
                raise EngineDead(self._ended, hint="load it again")
            self._asked.add(future)
        self.send(answer)
        return future

    def close(self) -> None:
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closing:
                with suppress(queue.Empty):  # nothing came, and a request that waits for its constraint is out of time
                    self._take(self._inbox.get(timeout=self._patience()))
                with switching(QUICK_S):
                    while self.core.has_work and not self._closing:
                        outputs = self.core.step()
                        if outputs:
                            self._deliver(outputs)
                        while not self._inbox.empty():
                            self._take(self._inbox.get())
            self._end("the engine was shut down")
        except BaseException as error:
            logger.exception("the engine's loop broke")
            self._end(f"the engine's loop broke: {type(error).__name__}: {error}")

    def _patience(self) -> float | None:
        return None if self.core.idle_s is None else min(self.core.idle_s, LONGEST_WAIT_S)

    def _end(self, reason: str) -> None:
        """Nobody may wait for this thread any more: neither streams nor questions."""
        with self._lock:
            self._ended = reason
        for future in self._asked:
            future.set_exception(EngineDead(reason, hint="load it again"))
        self._died(reason)

    def _take(self, action: Callable[[], None] | None) -> None:
        if action is None:
            self._closing = True
        else:
            action()


class LocalClient:
    """A `Client` for a worker in this process."""

    def __init__(
        self,
        core: EngineCore,
        prepare: Prepare,
        questions: dict[str, Callable[..., Any]],
        thread: EngineThread | None = None,
        log_interval: int = 40,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`at_end` is called when the engine has ended, to close what `prepare` uses."""
        self.log = core.log
        self._core = core
        self._prepare = prepare
        self._at_end = at_end
        self._streams: dict[str, Stream] = {}
        self._compiling: dict[str, Future[Any]] = {}
        self._unenforced: dict[str, tuple[str, ...]] = {}
        """By request; both belong to the engine's thread."""
        self._dead = ""
        self._lock = threading.Lock()
        self._progress = Progress(core, log_interval)
        self._worker = Worker(core, self._deliver, self._bury, questions, thread or EngineThread())

    def submit(self, requests: Sequence[Request]) -> list[Stream]:
        prepared: list[tuple[Request, Any, Any]] = []
        try:
            for request in requests:
                self._core.check_request(request)
                prepared.append((request, *self._prepare(request)))
            return self._send(prepared)
        except BaseException:
            for _, matcher, _ in prepared:
                _let_go(matcher)
            raise

    def abort(self, rid: str, message: str = "aborted by the caller") -> None:
        self._worker.send(lambda: self._core.abort(rid, message) and None)

    def call(self, name: str, *args: Any) -> Any:
        return self._worker.ask(name, *args).result()

    def close(self) -> None:
        self._worker.close()
        self._at_end()

    @property
    def ended(self) -> str:
        return self._dead

    def _send(self, prepared: list[tuple[Request, Any, Any]]) -> list[Stream]:
        with self._lock:
            if self._dead:
                raise EngineDead(self._dead, hint="load it again")
            self._core.check_queue(len(self._streams), len(prepared))
            streams = [Stream(request.rid) for request, _, _ in prepared]
            for i, stream in enumerate(streams):
                if stream.rid in self._streams:
                    for added in streams[:i]:
                        del self._streams[added.rid]
                    raise InvalidRequest("rid", stream.rid, "an id that is not in use")
                self._streams[stream.rid] = stream
            self._worker.send(lambda: self._add(prepared))
        return streams

    def _add(self, prepared: list[tuple[Request, Any, Any]]) -> None:
        for request, matcher, processor in prepared:
            is_compiling = isinstance(matcher, Future)
            try:
                self._core.add(request, matcher=None if is_compiling else matcher, processor=processor, is_compiling=is_compiling)
            except Exception as error:  # its own fault: the others go on
                _let_go(matcher)
                self._streams.pop(request.rid).put(error)
                continue
            if is_compiling:
                self._compiling[request.rid] = matcher
                told = partial(self._tell_compiled, request.rid)
                matcher.add_done_callback(told)
            else:
                self._note_unenforced(request.rid, matcher)

    def _tell_compiled(self, rid: str, future: Future[Any]) -> None:
        """From the thread that compiled."""
        self._worker.send(lambda: self._compiled(rid, future))

    def _compiled(self, rid: str, future: Future[Any]) -> None:
        if self._compiling.get(rid) is not future:  # the request ended before
            return
        del self._compiling[rid]
        error = future.exception()
        if error is None:
            self._note_unenforced(rid, future.result())
            self._core.supply(rid, future.result())
        else:
            self._core.fail(rid, in_one_line(error))
            self._streams.pop(rid).put(error)

    def _note_unenforced(self, rid: str, matcher: Any) -> None:
        if matcher is not None and matcher.unenforced:
            self._unenforced[rid] = matcher.unenforced

    def _deliver(self, outputs: list[TokenOut]) -> None:
        self._progress.note(outputs)
        for out in outputs:
            if out.finish is None:
                self._streams[out.rid].put(out)
                continue
            _let_go(self._compiling.pop(out.rid, None))
            unenforced = self._unenforced.pop(out.rid, ())
            self._streams.pop(out.rid).put(structs.replace(out, unenforced=unenforced) if unenforced else out)

    def _bury(self, reason: str) -> None:
        with self._lock:
            self._dead = reason
            streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.put(EngineDead(reason, hint="load it again"))
        for future in self._compiling.values():
            _let_go(future)


def _let_go(matcher: Any) -> None:
    """Nobody needs it any more: what still compiles may stop."""
    if isinstance(matcher, Future):
        matcher.cancel()
