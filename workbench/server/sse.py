"""`EventStream`: an answer of server-sent events that ends its source when the client leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from workbench.server.problem import Problem, problem_of
from workbench.server.wire import to_json

logger = logging.getLogger("workbench.server")
DONE = b"data: [DONE]\n\n"
HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no"}


def data(value: Any, event: str = "") -> bytes:
    """Returns a JSON value as one event, with its name if it has one."""
    name = f"event: {event}\n" if event else ""
    return name.encode() + b"data: " + to_json(value) + b"\n\n"


class EventStream(Response):
    """Sends the events of a generator. A fault while they come becomes a last event with an error object."""

    def __init__(
        self,
        events: AsyncIterator[bytes],
        show_problem: Callable[[Problem], bytes] = lambda problem: data(problem.openai()),
        headers: Mapping[str, str] = HEADERS,
    ) -> None:
        super().__init__(headers=dict(headers))
        self._events = events
        self._show_problem = show_problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pump = asyncio.ensure_future(self._pump(send))
        left = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({pump, left}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            pump.cancel()
            with suppress(asyncio.CancelledError):
                await pump

    async def _pump(self, send: Send) -> None:
        async with aclosing(self._events) as events:  # type: ignore[type-var]
            headers = [(k, v) for k, v in self.raw_headers if k != b"content-length"]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                async for event in events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            except OSError:  # the client has left
                return
            except Exception as error:
                problem = problem_of(error)
                if problem.status >= 500:
                    logger.exception("a stream failed")
                await send({"type": "http.response.body", "body": self._show_problem(problem), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
