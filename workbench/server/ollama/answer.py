"""Answers in Ollama's form: whole, or as lines of JSON."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from typing import Any

from workbench.server.chat import ChatEvent, ChoiceFinished, ReasoningDelta, TextDelta, ToolArgumentsDelta, ToolCallStarted, Usage
from workbench.server.wire import to_json

Shown = Callable[[str, str, list[dict[str, Any]]], dict[str, Any]]
"""A function from text, reasoning and calls to the fields of an answer."""


def as_message(text: str, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the fields of an answer of `/api/chat`."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    message |= {"thinking": thinking} if thinking else {}
    return {"message": message | ({"tool_calls": calls} if calls else {})}


def as_response(text: str, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the fields of an answer of `/api/generate`."""
    return {"response": text} | ({"thinking": thinking} if thinking else {})


async def whole(events: Awaitable[AsyncIterator[ChatEvent]], head: dict[str, Any], shown: Shown, started: int) -> dict[str, Any]:
    """Returns the answer that the events add up to."""
    text = thinking = ""
    calls: list[dict[str, Any]] = []
    last: dict[str, Any] = {}
    async for part in _parts(await events, started):
        text, thinking = text + part.text, thinking + part.thinking
        calls += part.calls
        last = part.end or last
    return head | shown(text, thinking, calls) | last


async def lines(events: AsyncIterator[ChatEvent], head: dict[str, Any], shown: Shown, started: int) -> AsyncIterator[bytes]:
    """Yields one line of JSON for each step that adds to the answer."""
    async with aclosing(_parts(events, started)) as parts:  # type: ignore[type-var]
        async for part in parts:
            yield to_json(head | shown(part.text, part.thinking, part.calls) | (part.end or {"done": False})) + b"\n"


def _calls(called: Iterable[list[str]]) -> Iterator[dict[str, Any]]:
    """Yields the calls, except one that the limit of tokens cut off."""
    for name, text in called:
        with suppress(ValueError):
            yield {"function": {"name": name, "arguments": json.loads(text or "{}")}}


class _Part:
    """The answer's growth in one step."""

    def __init__(self) -> None:
        self.text = self.thinking = ""
        self.calls: list[dict[str, Any]] = []
        self.end: dict[str, Any] | None = None


async def _parts(events: AsyncIterator[ChatEvent], started: int) -> AsyncIterator[_Part]:
    part, reason, first = _Part(), "", 0
    arguments: dict[int, list[str]] = {}
    async with aclosing(events) as each:  # type: ignore[type-var]
        async for event in each:
            match event:
                case TextDelta(text=text):
                    part.text += text
                case ReasoningDelta(text=text):
                    part.thinking += text
                case ToolCallStarted(call=number, name=name):
                    arguments[number] = [name, ""]
                case ToolArgumentsDelta(call=number, text=text):
                    arguments[number][1] += text
                case ChoiceFinished(reason=reason):
                    part.calls = [*_calls(arguments.values())]
                case Usage() as usage:
                    first = first or time.monotonic_ns()
                    if reason:
                        part.end = _end(reason, usage, started, first)
                    if part.text or part.thinking or part.calls or part.end:
                        yield part
                    part = _Part()


def _end(reason: str, usage: Usage, started: int, first: int) -> dict[str, Any]:
    now = time.monotonic_ns()
    return {
        "done": True, "done_reason": "length" if reason == "length" else "stop", "total_duration": now - started,
        "load_duration": 0, "prompt_eval_count": usage.prompt_tokens, "prompt_eval_duration": first - started,
        "eval_count": usage.completion_tokens, "eval_duration": now - first,
    }  # fmt: skip
