"""The chunks of a streamed chat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from workbench.server.chat import (
    ChatEvent,
    ChoiceFinished,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    Usage,
)
from workbench.server.openai.bodies import ChatBody, StreamOptions
from workbench.server.openai.common import Head, usage_of, usage_so_far
from workbench.server.sse import DONE, data

KIND = "chat.completion.chunk"


async def chat_chunks(events: AsyncIterator[ChatEvent], head: Head, body: ChatBody, n: int) -> AsyncIterator[bytes]:
    """Yields the chunks: each choice's role, its pieces and its end, the usage if it is wanted, and the last line."""
    options = body.stream_options or StreamOptions()
    usage = Usage(0, 0, 0, 0)
    is_call = isinstance(body.tool_choice, dict) or body.tool_choice == "required"
    first = {"role": "assistant", "content": None if is_call else ""}
    held = [_choice(choice, first) for choice in range(n)]
    async with aclosing(events):  # type: ignore[type-var]
        async for event in events:
            if not isinstance(event, Usage):
                held.append(_shown(event))
                continue
            usage = event
            for choice_json in held:
                yield data({**head.of(KIND), "choices": [choice_json], **usage_so_far(options, usage_of(usage))})
            held = []
    if options.include_usage:
        yield data({**head.of(KIND), "choices": [], "usage": usage_of(usage)})
    yield DONE


def _shown(event: ChatEvent) -> dict[str, Any]:
    match event:
        case TextDelta():
            return _choice(event.choice, {"content": event.text}, logprobs=event.logprobs)
        case ReasoningDelta():
            return _choice(event.choice, {"reasoning_content": event.text, "reasoning": event.text})
        case ToolCallStarted():
            function = {"name": event.name, "arguments": ""}
            return _choice(event.choice, _call(event.call, {"id": event.id, "type": "function", "function": function}))
        case ToolArgumentsDelta():
            return _choice(event.choice, _call(event.call, {"function": {"arguments": event.text}}))
        case ChoiceFinished():
            return {**_choice(event.choice, {}, event.reason), "matched_stop": event.matched}
    raise AssertionError(event)


def _call(index: int, fields: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **fields}]}


def _choice(
    index: int, delta: dict[str, Any], reason: str | None = None, logprobs: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    scores = None if logprobs is None else {"content": logprobs, "refusal": None}
    return {"index": index, "delta": delta, "logprobs": scores, "finish_reason": reason}
