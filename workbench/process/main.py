"""The main of an engine's process: `python -m workbench.process.main ADDRESS ADDRESS`. Its parent is `process.client`.

It is a new interpreter, so nothing of the parent's `__main__` runs again.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from workbench.client.answers import EngineInfo
from workbench.client.opened import Opened
from workbench.client.protocol import EngineCalls, EngineClient, calls_of
from workbench.client.stream import Stream
from workbench.config import ServerArgs
from workbench.errors import EngineDead
from workbench.events import AnyEvent
from workbench.hub.progress import Progress
from workbench.launch.start import start_engine
from workbench.model.outside import Place, register
from workbench.process.channel import Channel
from workbench.process.log import write_log
from workbench.process.messages import Answer, Call, Loading, Outputs, Refusal, message_of
from workbench.process.pictures import unpacked
from workbench.process.supervise import end_with_parent
from workbench.types import Request, TokenOut
from workbench.wire_error import Failure, encode

Open = Callable[[ServerArgs, Progress], Opened]
ON_ENGINE = calls_of(EngineCalls)


class Child:
    """Answers the calls of `ProcessCalls`: those on the engine by its client, the others by its own methods.

    Outputs are sent from the engine's thread, answers to its own calls from the thread of `serve`, at once. Calls on the engine
    wait for the end of a step, on a thread of their own, so that they hold up no new request.
    """

    def __init__(self, channel: Channel[Call], open_engine: Open) -> None:
        self._channel = channel
        self._open = open_engine
        self._opened: Opened | None = None
        self._num_sent = 0
        """Events of the log that have been sent."""
        self._lock = threading.Lock()
        """Held from reading events and outputs until they are sent, so that they are sent in their order."""

    def serve(self) -> None:
        """Answers calls for the rest of the process's life."""
        waiting: queue.SimpleQueue[Call] = queue.SimpleQueue()
        threading.Thread(target=self._answer_all, args=(waiting,), name="workbench-calls", daemon=True).start()
        while True:
            call = self._channel.receive()
            assert call is not None
            if call.name in ON_ENGINE:
                waiting.put(call)
            else:
                self._channel.send(self._answer(call))

    def _answer_all(self, waiting: queue.SimpleQueue[Call]) -> None:
        while True:
            self._channel.send(self._answer(waiting.get()))

    def _answer(self, call: Call) -> Answer | Refusal:
        try:
            message = message_of(call)
            owner = self._client.engine if call.name in ON_ENGINE else self
            result = getattr(owner, call.name)(**message.read_arguments(call))
            self._send_events()
            return Answer(call.number, msgspec.Raw(encode(result)))
        except Exception as error:
            return Refusal(call.number, Failure.of(error))

    # -- the calls on the process -------------------------------------------------------------------------------

    def open(self, server_args: dict[str, Any], models: list[Place]) -> EngineInfo:
        register(models)
        args = ServerArgs(**server_args)
        if args.log_level in ("debug", "info"):  # warnings are written without it
            write_log(args.log_level)
        self._opened = self._open(args, self._report)
        return self._opened.info

    def submit(self, requests: list[Request]) -> None:
        streams = self._client.submit(unpacked(requests))
        for stream in streams:
            stream.notify = self._forward
        self._forward(streams)  # for outputs that came before

    def abort(self, rid: str, message: str) -> None:
        self._client.abort(rid, message)

    def ping(self) -> None:
        pass

    @property
    def _client(self) -> EngineClient:
        if self._opened is None:
            raise EngineDead("no engine was opened in this process")
        return self._opened.client

    # -- to the parent ------------------------------------------------------------------------------------------

    def _report(self, what: str, done: int, total: int) -> None:
        self._channel.send(Loading(what, done, total))

    def _forward(self, streams: Sequence[Stream]) -> None:
        """Sends the outputs that have come in one message. Runs where they were put, on the engine's thread as a rule."""
        outputs: list[TokenOut] = []
        failures: list[tuple[str, Failure]] = []
        with self._lock:
            for stream in streams:
                try:
                    outputs += stream.take()
                except Exception as error:
                    failures.append((stream.rid, Failure.of(error)))
            if outputs or failures:
                self._send(outputs, failures)

    def _send_events(self) -> None:
        with self._lock:
            self._send()

    def _send(self, outputs: Sequence[TokenOut] = (), failures: Sequence[tuple[str, Failure]] = ()) -> None:
        first, events = self._client.log.read(self._num_sent)
        num_lost, self._num_sent = first - self._num_sent, first + len(events)
        if not (outputs or events or failures):
            return
        self._channel.send(Outputs(list(outputs), cast("list[AnyEvent]", events), list(failures), num_lost))


if __name__ == "__main__":
    end_with_parent()
    Child(Channel(Call, (sys.argv[1], sys.argv[2])), start_engine).serve()
