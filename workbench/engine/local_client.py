"""`LocalClient`: the client of an engine whose thread runs in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from msgspec import structs

from workbench.client.forward import forwarding
from workbench.client.protocol import EngineCalls
from workbench.client.stream import Stream
from workbench.client.waiters import Waiters
from workbench.engine.core import EngineCore
from workbench.engine.plan import LogitProcessor
from workbench.engine.progress import Progress
from workbench.engine.worker import EngineThread, Worker
from workbench.errors import in_one_line
from workbench.grammar.matcher import Matcher
from workbench.types import Request, TokenOut

Coming = Matcher | Future[Matcher] | None
"""The matcher of a request, a future while it is being compiled, or None without a constraint."""
Prepare = Callable[[Request], tuple[Coming, LogitProcessor | None]]
"""Returns the matcher and the logit processor of a request. Takes its time, on the caller's thread; raises what the caller
should see.

While the matcher is a future the request is queued and waits; an error of the future ends the request. The future is
cancelled when the request ends first.
"""
Prepared = tuple[Request, Coming, LogitProcessor | None]


class LocalClient:
    """An `EngineClient` for a worker in this process."""

    def __init__(
        self,
        core: EngineCore,
        prepare: Prepare,
        calls: EngineCalls,
        thread: EngineThread | None = None,
        log_interval: int = 40,
        at_end: Callable[[], None] = lambda: None,
        *,
        overlaps: bool = True,
    ) -> None:
        """Starts the worker. `close` calls `at_end` when the engine has ended, to close what `prepare` uses."""
        self.log = core.log
        self._core = core
        self._prepare = prepare
        self._calls = calls
        self._at_end = at_end
        self._waiters = Waiters()
        self._compiling: dict[str, Future[Matcher]] = {}
        self._unenforced: dict[str, tuple[str, ...]] = {}
        """By request; both belong to the engine's thread."""
        self._progress = Progress(core, log_interval)
        self._worker = Worker(
            core, self._waiters, thread or EngineThread(), self._deliver, self._stop_compiling, overlaps=overlaps
        )

    @property
    def engine(self) -> EngineCalls:
        return forwarding(self._start)

    def submit(self, requests: Sequence[Request]) -> list[Stream]:
        prepared: list[Prepared] = []
        try:
            for request in requests:
                self._core.check_request(request)
                prepared.append((request, *self._prepare(request)))
            rids = [request.rid for request in requests]
            streams = self._waiters.open_streams(rids, lambda num_open: self._core.check_queue(num_open, len(rids)))
        except BaseException:
            for _, matcher, _ in prepared:
                _let_go(matcher)
            raise
        self._worker.send(lambda: self._add(prepared))
        return streams

    def abort(self, rid: str, message: str = "aborted by the caller") -> None:
        self._worker.send(lambda: self._abort(rid, message))

    def close(self) -> None:
        self._worker.close()
        self._at_end()

    @property
    def ended(self) -> str:
        return self._waiters.ended

    def _start(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._worker.ask(partial(getattr(self._calls, call.__name__), *args, **kwargs))

    # -- on the engine's thread ---------------------------------------------------------------------------------

    def _add(self, prepared: list[Prepared]) -> None:
        for request, matcher, processor in prepared:
            coming = matcher if isinstance(matcher, Future) else None
            ready = None if isinstance(matcher, Future) else matcher
            try:
                self._core.add(request, matcher=ready, processor=processor, is_compiling=coming is not None)
            except Exception as error:  # its own fault: the others go on
                _let_go(matcher)
                self._waiters.fail(request.rid, error)
                continue
            if coming is not None:
                self._compiling[request.rid] = coming
                coming.add_done_callback(partial(self._when_compiled, request.rid))
            self._note_unenforced(request.rid, ready)

    def _abort(self, rid: str, message: str) -> None:
        self._core.abort(rid, message)

    def _when_compiled(self, rid: str, future: Future[Matcher]) -> None:
        """Runs on the thread that compiled."""
        self._worker.send(lambda: self._compiled(rid, future))

    def _compiled(self, rid: str, future: Future[Matcher]) -> None:
        if self._compiling.get(rid) is not future:  # the request ended before
            return
        del self._compiling[rid]
        error = future.exception()
        if error is None:
            self._note_unenforced(rid, future.result())
            self._core.supply(rid, future.result())
        else:
            self._core.fail(rid, in_one_line(error))
            self._waiters.fail(rid, error)

    def _note_unenforced(self, rid: str, matcher: Matcher | None) -> None:
        if matcher is not None and matcher.unenforced:
            self._unenforced[rid] = matcher.unenforced

    def _deliver(self, outputs: list[TokenOut]) -> None:
        self._progress.note(outputs)
        self._waiters.put([out if out.finish is None else self._last(out) for out in outputs])

    def _last(self, out: TokenOut) -> TokenOut:
        """Returns the last output of a request, with what is known at its end."""
        _let_go(self._compiling.pop(out.rid, None))
        unenforced = self._unenforced.pop(out.rid, ())
        return structs.replace(out, unenforced=unenforced) if unenforced else out

    def _stop_compiling(self) -> None:
        for future in self._compiling.values():
            _let_go(future)


def _let_go(matcher: Coming) -> None:
    """Cancels a compilation that no request needs any more."""
    if isinstance(matcher, Future):
        matcher.cancel()
