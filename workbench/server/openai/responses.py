"""`/v1/responses`: answers in items, which a later request can continue by the id of the last."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from workbench.server.body import json_body, read_body
from workbench.server.chat import ChatEvent, Usage, start_chat
from workbench.server.openai.responses_body import ResponsesBody
from workbench.server.openai.responses_events import ResponseWriter
from workbench.server.openai.responses_items import read_items
from workbench.server.openai.responses_store import ResponseStore, Stored
from workbench.server.problem import Problem
from workbench.server.serving import Serving, serving_of, until_left
from workbench.server.sse import EventStream, data
from workbench.server.wire import Json

router = APIRouter()
ResponseId = Annotated[str, Path(description="Id of the answer.")]


@router.post("/v1/responses", openapi_extra=json_body(ResponsesBody))
async def create_response(http: Request) -> Response:
    """Answers an input. With `stream` the answer is server-sent events, each with the next piece."""
    body, serving = await read_body(http, ResponsesBody), serving_of(http)
    answer = Answer(_store(http), serving, body)
    messages = await asyncio.to_thread(read_items, answer.items)
    events = start_chat(serving, body.call(messages, answer.id))
    if body.stream:
        return EventStream(answer.stream(await events), answer.show_problem)
    return Json(await until_left(answer.whole(events), http))


@router.get("/v1/responses/{response_id}")
async def get_response(http: Request, response_id: ResponseId) -> Response:
    """Returns a stored answer."""
    if http.query_params.get("stream", "false").lower() == "true":
        raise Problem(400, "a stored response cannot be streamed: leave out stream", "stream", "not_supported")
    return Json(_store(http).demand(response_id).response)


@router.delete("/v1/responses/{response_id}")
async def delete_response(http: Request, response_id: ResponseId) -> Response:
    """Drops a stored answer. Answers that continue it keep the conversation."""
    _store(http).delete(response_id)
    return Json({"id": response_id, "object": "response", "deleted": True})


@router.get("/v1/responses/{response_id}/input_items")
async def input_items(http: Request, response_id: ResponseId) -> Response:
    """Returns the input that a stored answer answers."""
    items = _store(http).demand(response_id).input
    numbered = [{"type": "message", "id": f"item_{response_id}_{i}", **item} for i, item in enumerate(items)]
    first, last = (numbered[0]["id"], numbered[-1]["id"]) if numbered else (None, None)
    return Json({"object": "list", "data": numbered, "first_id": first, "last_id": last, "has_more": False})


class Answer:
    """One answer in the making."""

    def __init__(self, store: ResponseStore, serving: Serving, body: ResponsesBody) -> None:
        """Raises Problem if the answer that is to be continued is not stored."""
        self.id = f"resp_{uuid.uuid4().hex}"
        self._store = store
        self._keeps = body.store is not False
        self._input = body.items()
        self._before: list[dict[str, Any]] = []
        if (previous := body.previous_response_id) is not None:
            if (stored := store.get(previous)) is None:
                message = f"there is no response {previous!r}: it was not stored, or later ones took its place"
                raise Problem(400, message, "previous_response_id", "previous_response_not_found")
            self._before = stored.items
        self._writer = ResponseWriter(_head(self.id, serving, body))

    @property
    def items(self) -> list[dict[str, Any]]:
        """The items of the conversation."""
        return [*self._before, *self._input]

    async def whole(self, events: Awaitable[AsyncIterator[ChatEvent]]) -> dict[str, Any]:
        """Returns the answer that the events add up to."""
        async for _ in self._written(await events):
            pass
        return self._writer.response

    async def stream(self, events: AsyncIterator[ChatEvent]) -> AsyncIterator[bytes]:
        """Yields the events of the answer's stream."""
        async with aclosing(self._written(events)) as written:  # type: ignore[type-var]
            async for event in written:
                yield data(event, event["type"])

    def show_problem(self, problem: Problem) -> bytes:
        """Returns the last event of a stream that fails."""
        event = self._writer.fail(problem)
        return data(event, event["type"])

    async def _written(self, events: AsyncIterator[ChatEvent]) -> AsyncIterator[dict[str, Any]]:
        usage = Usage(0, 0, 0, 0)
        for event in self._writer.start():
            yield event
        async with aclosing(events) as each:  # type: ignore[type-var]
            async for piece in each:
                if isinstance(piece, Usage):
                    usage = piece
                for event in self._writer.push(piece):
                    yield event
        last = self._writer.finish(usage)
        if self._keeps:
            self._store.put(Stored(self._writer.response, self._input, self._before))
        for event in last:
            yield event


def _head(response_id: str, serving: Serving, body: ResponsesBody) -> dict[str, Any]:
    """Returns the fields of an answer that are known before it begins."""
    reasoning = body.reasoning or {}
    return {
        "id": response_id, "object": "response", "created_at": int(time.time()), "model": serving.name_for(body.model),
        "background": False, "error": None, "incomplete_details": None, "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens, "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False, "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": reasoning.get("effort"), "summary": None}, "store": body.store is not False,
        "temperature": body.temperature, "text": {"format": (body.text or {}).get("format") or {"type": "text"}},
        "tool_choice": body.tool_choice or "auto", "tools": body.tools or [], "top_logprobs": body.top_logprobs or 0,
        "top_p": body.top_p, "truncation": "disabled", "usage": None, "user": body.user,
    }  # fmt: skip


def _store(http: Request) -> ResponseStore:
    store: ResponseStore = http.app.state.responses
    return store
