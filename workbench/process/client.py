"""`ProcessClient`: the client of an engine in a child process, for cells that compute in Python beside it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Any

import msgspec

from workbench.client.answers import EngineInfo
from workbench.client.forward import forwarding
from workbench.client.opened import Opened
from workbench.client.stream import Stream
from workbench.client.waiters import Waiters, answer
from workbench.config import ServerArgs
from workbench.errors import SHUT_DOWN, EngineDead, WorkbenchError
from workbench.events import EventLog
from workbench.hub.from_args import find_tokenizer
from workbench.hub.progress import READING, Progress, Relay
from workbench.kernels.quick_imports import child_environment
from workbench.model.outside import places
from workbench.process.channel import Channel
from workbench.process.messages import MESSAGES, ONE_VERSION, Answer, FromChild, Loading, Message, Outputs, ProcessCalls, Refusal
from workbench.process.pictures import packed
from workbench.process.supervise import ChildProcess
from workbench.text.tokenizer import Tokenizer
from workbench.types import Request

SEND_WAIT_MS = 100
RECEIVE_WAIT_MS = 200
logger = logging.getLogger("workbench.engine")


def ignore(reason: str) -> None:
    """Takes the reason why an engine ended, and does nothing."""


def open_process(args: ServerArgs, progress: Progress | None = None, on_end: Callable[[str], None] = ignore) -> Opened:
    """Opens an engine like `launch.engine.open_engine`, with the model in a child. The parent reads the tokenizer and loads
    no torch. `on_end` is that of `ProcessClient`."""
    found: Future[Tokenizer | None] = Future()
    finder = threading.Thread(target=answer, args=(found, partial(find_tokenizer, args)), name="workbench-tokenizer")

    def report(what: str, done: int, total: int) -> None:
        if what.startswith(READING) and finder.ident is None:  # the model is here: the child has found it
            finder.start()
        if progress is not None:
            progress(what, done, total)

    client = ProcessClient(args, report, on_end)
    try:
        if finder.ident is None:
            finder.start()
        tokenizer = found.result()
    except BaseException:
        client.close()
        raise
    return Opened(client, tokenizer, client.info)


class ProcessClient:
    """An `EngineClient` whose engine is a child process."""

    def __init__(self, args: ServerArgs, progress: Progress | None = None, on_end: Callable[[str], None] = ignore) -> None:
        """Starts the process and waits until its engine is open.

        When the process of an open engine has ended by itself, calls `on_end` with the reason, after all waiters got it, on the
        thread that receives. `on_end` may open another engine. An end while the engine loads is raised here alone.
        """
        self.log = EventLog(args.event_log_size)
        self.engine = forwarding(self._start)
        self._on_end = on_end
        self._waiters = Waiters()
        self._unanswered: dict[int, tuple[Future[Any], Message]] = {}
        self._numbers = itertools.count(1)
        self._is_open = self._is_closing = False
        self._opening = threading.Lock()
        """Held to decide whether the process ended before or after its engine was open."""
        self._fault = ""
        self._loading = Relay()
        self._channel: Channel[FromChild] = Channel(FromChild, send_wait_ms=SEND_WAIT_MS)
        self._child = ChildProcess(
            [sys.executable, "-m", "workbench.process.main", *self._channel.addresses], child_environment()
        )
        self._thread = threading.Thread(target=self._pump, name="workbench-process", daemon=True)
        self._thread.start()
        try:
            self.info: EngineInfo = self._loading.wait(self._start(ProcessCalls.open, args.to_dict(), places()), progress)
            with self._opening:
                self._is_open = not self.ended
            if self.ended:
                raise EngineDead(self.ended)
        except BaseException:
            self.close()
            raise

    def submit(self, requests: Sequence[Request]) -> list[Stream]:
        rids = [request.rid for request in requests]
        streams = self._waiters.open_streams(rids)
        try:
            self._start(ProcessCalls.submit, packed(requests)).result()
        except BaseException as error:
            self._waiters.forget(rids)
            if not isinstance(error, WorkbenchError):  # an interrupt: the child may have taken them
                for rid in rids:
                    self.abort(rid)
            raise
        return streams

    def abort(self, rid: str, message: str = "aborted by the caller") -> None:
        with contextlib.suppress(EngineDead):
            self._start(ProcessCalls.abort, rid, message)

    def ping(self) -> Future[None]:
        """Returns a future that is done as soon as the process answers, in the middle of a step too. Raises EngineDead."""
        return self._start(ProcessCalls.ping)

    def probe(self) -> Future[None]:
        """Returns a future that is done when the present step ends. Raises EngineDead."""
        return self._start(ProcessCalls.now)

    def kill(self, reason: str) -> None:
        """Ends a process that does not answer; open requests end with this reason."""
        self._fault = reason
        self._child.end(patience_s=0)

    def close(self) -> None:
        self._is_closing = True
        self._child.end()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._channel.close()

    @property
    def ended(self) -> str:
        return self._waiters.ended

    @property
    def pid(self) -> int:
        return self._child.pid

    def _start(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        number, message = next(self._numbers), MESSAGES[call.__name__]
        encoded = message.call(number, *args, **kwargs)
        future = self._waiters.call()
        self._unanswered[number] = (future, message)  # before it is sent: its answer may be quick
        while self._child.poll() is None:  # a plain send would wait for a dead child as well
            if self._channel.send(encoded):
                return future
        self._unanswered.pop(number, None)
        raise EngineDead(self._reason())

    def _reason(self) -> str:
        return SHUT_DOWN if self._is_closing else self._fault or f"the engine's process ended, exit code {self._child.poll()}"

    # -- on the thread that receives ----------------------------------------------------------------------------

    def _pump(self) -> None:
        """Receives until the child is gone."""
        try:
            while True:
                message = self._channel.receive(RECEIVE_WAIT_MS)
                if message is not None:
                    self._receive(message)
                elif self._child.poll() is not None:
                    break
        except msgspec.ValidationError as error:
            self._fault = f"the engine's process sent a message that is not known here ({error}): {ONE_VERSION}"
            self._child.end()
        except Exception as error:
            logger.exception("a message of the engine's process was not understood")
            self._fault = f"a message of the engine's process was not understood: {type(error).__name__}: {error}"
            self._child.end()
        finally:
            reason = self._reason()
            self._waiters.end(reason)
            self._unanswered.clear()
        with self._opening:
            is_lost = self._is_open and not self._is_closing
        if is_lost:
            self._on_end(reason)

    def _receive(self, message: FromChild) -> None:
        match message:
            case Outputs():
                self._take(message)
            case Loading():
                self._loading(message.what, message.done, message.total)
            case Answer() | Refusal():
                future, call = self._unanswered.pop(message.number)
                with contextlib.suppress(InvalidStateError):  # its caller gave it up
                    if isinstance(message, Answer):
                        future.set_result(call.read_result(message))
                    else:
                        future.set_exception(message.failure.to_error())

    def _take(self, message: Outputs) -> None:
        if message.num_lost:
            self.log.skip(message.num_lost)
        for event in message.events:
            self.log.add(event)
        self._waiters.put(message.outputs)
        for rid, failure in message.failures:
            self._waiters.fail(rid, failure.to_error())
