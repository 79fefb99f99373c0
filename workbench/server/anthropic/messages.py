"""`/v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, suppress
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from workbench.server.anthropic.request import CountBody, MessagesBody
from workbench.server.body import json_body, read_body
from workbench.server.chat import (
    ChatEvent,
    ChoiceFinished,
    ChoiceResult,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    Usage,
    collect_chat,
    start_chat,
)
from workbench.server.chat.start import prompt_ids
from workbench.server.problem import Problem
from workbench.server.serving import serving_of, until_left
from workbench.server.sse import EventStream, data
from workbench.server.wire import Json

router = APIRouter()
REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "abort": "end_turn"}


@router.post("/v1/messages", openapi_extra=json_body(MessagesBody))
async def messages(http: Request) -> Response:
    """Answers a conversation."""
    body, serving = await read_body(http, MessagesBody), serving_of(http)
    head = {"id": f"msg_{uuid.uuid4().hex[:24]}", "type": "message", "role": "assistant", "model": serving.name_for(body.model)}
    events = start_chat(serving, body.call(can_reason=serving.args.reasoning_parser is not None))
    if body.stream:
        return EventStream(_stream(await events, head), lambda problem: data(problem.anthropic(), "error"))
    return Json(await until_left(_whole(events, head), http))


@router.post("/v1/messages/count_tokens", openapi_extra=json_body(CountBody))
async def count_tokens(http: Request) -> Response:
    """Returns the number of tokens of a conversation, its tools included."""
    body, serving = await read_body(http, CountBody), serving_of(http)
    ids = await asyncio.to_thread(prompt_ids, serving, body.call(needs_limit=False))
    return Json({"input_tokens": len(ids)})


async def _whole(events: Awaitable[AsyncIterator[ChatEvent]], head: dict[str, Any]) -> dict[str, Any]:
    result = await collect_chat(await events)
    choice = result.choices[0]
    end = _end(choice.finish_reason, choice.matched)
    return {**head, "content": _blocks(choice), **end, "usage": _usage(result.usage)}


def _blocks(choice: ChoiceResult) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if choice.reasoning:
        blocks.append({"type": "thinking", "thinking": choice.reasoning, "signature": ""})
    if choice.content:
        blocks.append({"type": "text", "text": choice.content})
    for call in choice.tool_calls:
        with suppress(ValueError):  # a call that the limit of tokens cut off
            blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments or "{}")})
    return blocks


def _end(reason: str, matched: int | str | None) -> dict[str, Any]:
    if reason == "stop" and isinstance(matched, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": matched}
    return {"stop_reason": REASONS.get(reason, "end_turn"), "stop_sequence": None}


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens, "output_tokens": usage.completion_tokens,
        "cache_read_input_tokens": usage.cached_tokens, "cache_creation_input_tokens": 0,
    }  # fmt: skip


class BlockStream:
    """Turns events into those of Anthropic's streams: one block at a time, each with its own index."""

    def __init__(self) -> None:
        self._index = -1
        self._kind = ""
        self._end: dict[str, Any] = {}

    def push(self, event: ChatEvent) -> list[bytes]:
        """Returns what an event adds."""
        match event:
            case TextDelta(text=text) if text:
                return [*self._open("text", {"text": ""}), self._delta({"type": "text_delta", "text": text})]
            case ReasoningDelta(text=text):
                opened = self._open("thinking", {"thinking": "", "signature": ""})
                return [*opened, self._delta({"type": "thinking_delta", "thinking": text})]
            case ToolCallStarted(id=id, name=name):
                return self._open("tool_use", {"id": id, "name": name, "input": {}}, is_new=True)
            case ToolArgumentsDelta(text=text):
                return [self._delta({"type": "input_json_delta", "partial_json": text})]
            case ChoiceFinished(reason=reason, matched=matched):
                self._end = _end(reason, matched)
        return []

    def finish(self, usage: Usage) -> list[bytes]:
        """Returns the end of the message."""
        delta = {"type": "message_delta", "delta": self._end, "usage": _usage(usage)}
        return [*self._close(), data(delta, "message_delta"), data({"type": "message_stop"}, "message_stop")]

    def _open(self, kind: str, fields: dict[str, Any], is_new: bool = False) -> list[bytes]:
        if kind == self._kind and not is_new:
            return []
        closed = self._close()
        self._index, self._kind = self._index + 1, kind
        block = {"type": "content_block_start", "index": self._index, "content_block": {"type": kind, **fields}}
        return [*closed, data(block, "content_block_start")]

    def _close(self) -> list[bytes]:
        if not self._kind:
            return []
        self._kind = ""
        return [data({"type": "content_block_stop", "index": self._index}, "content_block_stop")]

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return data({"type": "content_block_delta", "index": self._index, "delta": delta}, "content_block_delta")


async def _stream(events: AsyncIterator[ChatEvent], head: dict[str, Any]) -> AsyncIterator[bytes]:
    blocks, usage, held = BlockStream(), Usage(0, 0, 0, 0), list[ChatEvent]()
    has_begun = False
    async with aclosing(events) as each:  # type: ignore[type-var]
        async for event in each:
            if not isinstance(event, Usage):
                held.append(event)
                continue
            usage = event
            if not has_begun:
                has_begun = True
                first = {**head, "content": [], "stop_reason": None, "stop_sequence": None}
                begin = {"type": "message_start", "message": {**first, "usage": {**_usage(usage), "output_tokens": 0}}}
                yield data(begin, "message_start") + data({"type": "ping"}, "ping")
            for piece in held:
                for line in blocks.push(piece):
                    yield line
            held.clear()
    if not has_begun:
        raise Problem(500, "the engine ended the answer before it began")
    for line in blocks.finish(usage):
        yield line
