"""The same worker in a child process, for cells that compute in Python: ZeroMQ, msgpack, never pickle.

Two one-way sockets in a folder that only this user may enter; each end is written under a lock and read by one thread.

The child is started with `python -m`, so nothing of `__main__` runs again. It ends when its standard input closes,
which the operating system does when the parent ends in whatever way; the parent notices its exit and ends the streams.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec
import zmq

from workbench.client import Stream
from workbench.config import ServerArgs
from workbench.errors import EngineDead, InvalidRequest, WorkbenchError
from workbench.events import EventLog, SnapshotTaken
from workbench.hub.progress import Progress, Relay
from workbench.process.messages import Call, Loading, Outputs, Reply, Submit, to_child, to_parent, uncarried
from workbench.types import Request, TokenOut
from workbench.wire_error import CANNOT_CARRY, Failure, encode

SEND_WAIT_MS = 100

# -- parent -----------------------------------------------------------------------------------------------------


class ProcessClient:
    """A `Client` whose engine is a child process."""

    def __init__(self, args: ServerArgs, progress: Progress | None = None) -> None:
        self.log = EventLog(args.event_log_size)
        self._streams: dict[str, Stream] = {}
        self._replies: dict[int, Future[Any]] = {}
        self._number = 0
        self._dead = ""
        self._is_closing = False
        self._lock = threading.Lock()
        self._loading = Relay()
        self._folder = tempfile.TemporaryDirectory(prefix="workbench-")
        self._context = zmq.Context()
        self._down, self._up = self._context.socket(zmq.PUSH), self._context.socket(zmq.PULL)
        self._down.sndtimeo = SEND_WAIT_MS
        addresses = [_bind(socket, self._folder.name, name) for socket, name in ((self._down, "down"), (self._up, "up"))]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "workbench.process.main", *addresses], stdin=subprocess.PIPE, start_new_session=True
        )
        self._thread = threading.Thread(target=self._pump, name="workbench-process", daemon=True)
        self._thread.start()
        try:
            self._put(encode(args.to_dict()))
            self.info: dict[str, Any] = self._loading.wait(self._ask("info"), progress)
        except BaseException:
            self.close()
            raise

    def submit(self, requests: Sequence[Request]) -> list[Stream]:
        with self._lock:
            taken = next((request.rid for request in requests if request.rid in self._streams), None)
            if taken is not None:
                raise InvalidRequest("rid", taken, "an id that is not in use")
            streams = [Stream(request.rid) for request in requests]
            self._streams |= {stream.rid: stream for stream in streams}
        try:
            self._send(lambda number: Submit(number, list(requests))).result()
        except BaseException as error:
            with self._lock:
                for request in requests:
                    self._streams.pop(request.rid, None)
            if not isinstance(error, WorkbenchError):  # an interrupt: the child may have taken them
                for request in requests:
                    self.abort(request.rid)
            raise
        return streams

    def abort(self, rid: str, message: str = "aborted by the caller") -> None:
        with contextlib.suppress(EngineDead):
            self._send(lambda number: Call(number, "abort", [rid, message]))

    def call(self, name: str, *args: Any) -> Any:
        return self._ask(name, *args).result()

    def close(self) -> None:
        """The child exits when its standard input closes; it is killed if that takes longer than 10 s."""
        self._is_closing = True
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._thread.join()
        for socket in (self._down, self._up):
            socket.close(0)
        self._context.term()
        self._folder.cleanup()

    @property
    def ended(self) -> str:
        return self._dead

    @property
    def pid(self) -> int:
        return self._child.pid

    def _ask(self, name: str, *args: Any) -> Future[Any]:
        return self._send(lambda number: Call(number, name, list(args)))

    def _send(self, make: Callable[[int], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            if self._dead:
                raise EngineDead(self._dead, hint="load it again")
            self._number += 1
            try:
                message = encode(make(self._number))
            except CANNOT_CARRY as error:
                raise InvalidRequest(*uncarried(make(0)), f"made of values that msgpack can carry ({error})") from None
            self._replies[self._number] = future  # before the message: its answer may be quick
            try:
                self._put(message)
            except EngineDead:
                self._replies.pop(self._number, None)
                raise
        return future

    def _put(self, message: bytes) -> None:
        """Waits while the child is there to read; a plain send would wait for a dead one as well."""
        while self._child.poll() is None:
            with contextlib.suppress(zmq.Again):
                self._down.send(message)
                return
        raise EngineDead(self._ending(), hint="load it again")

    def _ending(self) -> str:
        return "the engine was shut down" if self._is_closing else f"the engine's process ended, exit code {self._child.poll()}"

    def _pump(self) -> None:
        """Reads until the child is gone."""
        try:
            while True:
                if self._up.poll(200):
                    self._receive(to_parent.decode(self._up.recv()))
                elif self._child.poll() is not None:
                    break
        finally:
            self._bury(self._ending())

    def _receive(self, message: Reply | Outputs | Loading) -> None:
        if isinstance(message, Loading):
            self._loading(message.what, message.done, message.total)
            return
        if isinstance(message, Outputs):
            if message.num_lost:
                self.log.skip(message.num_lost)
            for event in message.events:
                self.log.add(event)
            for out in message.outputs:
                stream = self._streams.get(out.rid) if out.finish is None else self._streams.pop(out.rid, None)
                if stream is not None:
                    stream.put(out)
            for rid, failure in message.failures:
                stream = self._streams.pop(rid, None)
                if stream is not None:
                    stream.put(failure.to_error())
            return
        future = self._replies.pop(message.number)
        if message.failure is not None:
            future.set_exception(message.failure.to_error())
        elif message.events is not None:
            future.set_result((self._place_of(message.value), message.events))
        else:
            future.set_result(message.value)

    def _place_of(self, number: int) -> int:
        """Where this log goes on after a snapshot that the child's log numbered so: programs write to this one too."""
        first, events = self.log.read()
        for i, event in enumerate(reversed(events)):
            if isinstance(event, SnapshotTaken) and event.number == number - 1:
                return first + len(events) - i
        return self.log.num_added

    def _bury(self, reason: str) -> None:
        with self._lock:
            self._dead = reason
            streams, self._streams = self._streams, {}
            replies, self._replies = self._replies, {}
        for stream in streams.values():
            stream.put(EngineDead(reason, hint="load it again"))
        for future in replies.values():
            future.set_exception(EngineDead(reason, hint="load it again"))


def _bind(socket: zmq.Socket[bytes], folder: str, name: str) -> str:
    """The address: a socket file in the private folder, or a loopback port where there are no socket files."""
    if os.name == "posix":
        address = f"ipc://{folder}/{name}"
        socket.bind(address)
        return address
    return f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"


# -- child ------------------------------------------------------------------------------------------------------


class Child:
    """One socket, one engine. Outputs are written from the engine's thread, replies from this one; a lock keeps them apart."""

    def __init__(self, open_engine: Callable[[ServerArgs, Progress], Any], down: str, up: str) -> None:
        self._open = open_engine
        context = zmq.Context.instance()
        self._down, self._up = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        self._down.connect(down)
        self._up.connect(up)
        self._lock = threading.Lock()
        self._opened: Any = None
        self._num_sent = 0

    def serve(self) -> None:
        failure: Failure | None = None
        args = ServerArgs(**msgspec.msgpack.decode(self._down.recv()))
        try:
            self._opened = self._open(args, lambda what, done, total: self._send(Loading(what, done, total)))
        except BaseException as error:
            failure = Failure.of(error)
        while True:
            message = to_child.decode(self._down.recv())
            try:
                reply = Reply(message.number, failure=failure) if failure else _reply(message, self._answer(message))
            except Exception as error:
                reply = Reply(message.number, failure=Failure.of(error))
            self._send(reply)

    def _answer(self, message: Call | Submit) -> Any:
        client = self._opened.client
        if isinstance(message, Submit):
            for stream in client.submit(message.requests):
                stream.notify = lambda stream=stream: self._forward(stream)
                self._forward(stream)
            return None
        if message.name == "info":
            return self._opened.info
        if message.name == "abort":
            return client.abort(*message.args)
        value = client.call(message.name, *message.args)
        with self._lock:
            self._send_events()
        return value

    def _forward(self, stream: Stream) -> None:
        """Runs where the output was put, on the engine's thread as a rule. Under the lock, or two outputs could swap places."""
        outputs: list[TokenOut] = []
        failures: list[tuple[str, Failure]] = []
        with self._lock:
            try:
                outputs += stream.take()
            except Exception as error:
                failures.append((stream.rid, Failure.of(error)))
            if outputs or failures:
                self._send_events(outputs, failures)

    def _send_events(self, outputs: Sequence[TokenOut] = (), failures: Sequence[tuple[str, Failure]] = ()) -> None:
        """Called under the lock, so that events are sent in their order."""
        first, events = self._opened.client.log.read(self._num_sent)
        num_lost, self._num_sent = first - self._num_sent, first + len(events)
        self._up.send(encode(Outputs(list(outputs), events, list(failures), num_lost)))

    def _send(self, message: Reply | Outputs | Loading) -> None:
        with self._lock:
            self._up.send(encode(message))


def _reply(message: Call | Submit, value: Any) -> Reply:
    if isinstance(message, Call) and message.name == "snapshot":
        number, events = value
        return Reply(message.number, number, events=events)
    return Reply(message.number, value)


def serve(open_engine: Callable[[ServerArgs, Progress], Any], down: str, up: str) -> None:
    """The child's whole life: opens the engine it is told to and answers until its standard input closes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    Child(open_engine, down, up).serve()


def _end_with_parent() -> None:
    """Standard input closes when the parent lets go of it, or ends."""
    sys.stdin.read()
    os._exit(0)
