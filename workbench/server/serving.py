"""`Serving`: the engine behind a server, as the routes use it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from workbench.api.encoding import Encoding
from workbench.api.generation import Generation, Running
from workbench.api.handle import Handle
from workbench.api.sessions import Sessions
from workbench.config import ServerArgs
from workbench.errors import PromptTooLong
from workbench.native.requests import GenerateRequest
from workbench.native.results import Completion, Results
from workbench.process.client import ProcessClient
from workbench.server.limits import check_answers
from workbench.server.problem import Problem
from workbench.server.traces import Traces
from workbench.text import chat

if TYPE_CHECKING:  # they take time, in which the engine's process already starts
    from fastapi import Request

    from workbench.api.questions import Questions

T = TypeVar("T")
LEFT_STATUS = 499
"""Status of a request whose client has left; no client sees it, the log does."""
NUM_UNLOGGED = 65_536
"""Number of request ids that are remembered as left out of the metrics: more than a second brings."""
PING_S = 3.0
"""Seconds that the engine's process has to answer a ping until it counts as stopped: fewer than a probe of `docs/deploy` has."""


class Serving:
    """One engine and the settings of its server. Routes find it with `serving_of`."""

    def __init__(
        self, handle: Handle, traces: Traces | None = None, settings: Mapping[str, Any] | None = None,
        questions: Questions | None = None,
    ) -> None:  # fmt: skip
        """Serves `handle` with its settings, apart from `settings`. `questions` are those that the engine's owner has open."""
        self.traces = traces
        self._settings = dict(settings or {})
        self.is_draining = False
        """True from SIGTERM on: new requests get status 503."""
        self.num_open = 0
        """Number of POST requests that have begun and not ended."""
        self.num_readers = 0
        """Number of clients that follow the event log."""
        self._unlogged: OrderedDict[str, None] = OrderedDict()
        self._listeners: list[Callable[[Handle], None]] = []
        self.sessions = Sessions()
        """The sessions, which outlive an engine that died."""
        self._use(handle, questions)

    def _use(self, handle: Handle, questions: Questions | None = None) -> None:
        self._handle = handle
        self._generation = Generation(handle, self.sessions, self.traces.observe if self.traces else None)
        self.encoding = Encoding(handle)
        self._questions = questions
        self._args: tuple[ServerArgs, ServerArgs] | None = None

    def replace(self, handle: Handle) -> None:
        """Serves another engine from now on, and calls the listeners with it."""
        self._use(handle)
        for listen in self._listeners:
            listen(handle)

    def on_engine(self, listen: Callable[[Handle], None]) -> None:
        """Calls `listen` with the engine of now, and with each that takes its place."""
        self._listeners.append(listen)
        listen(self._handle)

    @property
    def args(self) -> ServerArgs:
        args = self._handle.args
        if not self._settings:
            return args
        if self._args is None or self._args[0] is not args:
            self._args = (args, ServerArgs.make(**args.to_dict() | self._settings))
        return self._args[1]

    @property
    def name(self) -> str:
        """The name of the served model."""
        return self.args.served_model_name or self.args.model_path

    def name_for(self, asked: str | None) -> str:
        """Returns the name that an answer shows: the served one, whatever name the request has."""
        return self.name

    @property
    def handle(self) -> Handle:
        """The engine. Its calls raise EngineDead when it has ended, until another one takes its place."""
        return self._handle

    @property
    def questions(self) -> Questions:
        """The questions about the engine, whose views share one switch of token detail."""
        if self._questions is None:
            from workbench.api.questions import Questions

            self._questions = Questions(self._handle)
        return self._questions

    @property
    def generation(self) -> Generation:
        return self._generation

    @property
    def is_ending(self) -> bool:
        """True when the server drains and no request is left: streams of events end then."""
        return self.is_draining and not self.num_open

    def leave_out(self, rids: Iterable[str]) -> None:
        """Leaves requests, which come next, out of the metrics."""
        self._unlogged |= dict.fromkeys(rids)
        while len(self._unlogged) > NUM_UNLOGGED:
            self._unlogged.popitem(last=False)

    def is_unlogged(self, rid: str) -> bool:
        """Returns whether a request, or the group that it is a sample of, is left out of the metrics."""
        return rid in self._unlogged or rid.rpartition("-")[0] in self._unlogged

    async def fault(self) -> str:
        """Returns the reason why the engine serves nothing now; empty if it does."""
        client = self._handle.client
        if client.ended:
            return client.ended
        if isinstance(client, ProcessClient):
            try:
                await asyncio.wait_for(asyncio.wrap_future(client.ping()), PING_S)
            except TimeoutError:
                return f"the engine's process has not answered for {PING_S:g} s"
            except Exception as error:
                return str(error)
        return ""

    def tokenizer_facts(self) -> dict[str, Any] | None:
        """Returns the facts with which a client renders conversations; None without a tokenizer."""
        handle = self._handle
        return chat.facts(handle.hf_tokenizer) if handle.has_tokenizer else None

    async def complete(self, request: GenerateRequest, http: Request) -> Results:
        """Returns the results of a request, and aborts it if its client leaves."""
        return await until_left(self._complete(request), http)

    async def _complete(self, request: GenerateRequest) -> Results:
        return await self._generation.finished(await self.submit(request))

    async def submit(self, request: GenerateRequest) -> Running:
        """Queues a request. Raises what can be refused."""
        check_answers(sum(each.params.n for each in request.prompts))
        for each in request.prompts:
            if isinstance(each.prompt, str):
                self.check_length(each.prompt, "prompt")
        return await self._generation.submit(request)

    def check_length(self, text: str, field: str) -> None:
        """Raises PromptTooLong for a text that is surely longer than the context, before the work of tokenising it."""
        room = self.handle.info.context_length
        if not self.handle.has_tokenizer or self.args.allow_auto_truncate:
            return
        if (count := self.handle.tokenizer.least_tokens(text)) > room:
            raise PromptTooLong(field, f"at least {count} tokens", f"at most {room} tokens (the context)")

    async def start_stream(self, request: GenerateRequest) -> AsyncIterator[Completion]:
        """Queues a request and returns its results as they grow. Raises before the stream begins what can be refused."""
        return self._generation.chunks(await self.submit(request))


def serving_of(http: Request) -> Serving:
    """Returns the `Serving` of the application that a request came to."""
    serving: Serving = http.app.state.serving
    return serving


async def until_left(work: Awaitable[T], http: Request) -> T:
    """Returns the result of `work`; cancels it when the client of `http`, whose body has been read, leaves."""
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_left(http))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Problem(LEFT_STATUS, "the client has left")
    finally:
        left.cancel()
        task.cancel()


async def _left(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
