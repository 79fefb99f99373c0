"""`Serving`: the engine behind a server, as the routes use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from fastapi import Request

from workbench.api.generation import Generation
from workbench.api.handle import Handle
from workbench.config import ServerArgs
from workbench.native.requests import GenerateRequest
from workbench.native.results import Completion, Results
from workbench.server.problem import Problem

T = TypeVar("T")
LEFT_STATUS = 499
"""Status of a request whose client has left; no client sees it, the log does."""


class Serving:
    """One engine and the settings of its server. Routes find it with `serving_of`."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._generation = Generation(handle)
        self.is_draining = False
        """True from SIGTERM on: new requests get status 503."""

    @property
    def args(self) -> ServerArgs:
        return self._handle.args

    @property
    def name(self) -> str:
        """The name of the served model."""
        return self.args.served_model_name or self.args.model_path

    def name_for(self, asked: str | None) -> str:
        """Returns the name that an answer shows: the served one, whatever name the request has."""
        return self.name

    @property
    def handle(self) -> Handle:
        """The running engine. Raises EngineDead while there is none."""
        return self._handle

    @property
    def generation(self) -> Generation:
        return self._generation

    async def complete(self, request: GenerateRequest, http: Request) -> Results:
        """Returns the results of a request, and aborts it if its client leaves."""
        return await until_left(self.generation.async_results(request), http)

    async def start_stream(self, request: GenerateRequest) -> AsyncIterator[Completion]:
        """Queues a request and returns its results as they grow. Raises before the stream begins what can be refused."""
        return await asyncio.to_thread(self.generation.async_stream, request)


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
