"""`/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from workbench.server.body import json_body, read_body
from workbench.server.chat import ChatCall, ChatEvent, ChoiceResult, collect_chat, start_chat
from workbench.server.limits import MAX_SAMPLES
from workbench.server.openai.bodies import ChatBody
from workbench.server.openai.chat_stream import chat_chunks
from workbench.server.openai.common import Head, usage_of
from workbench.server.problem import Problem
from workbench.server.serving import serving_of, until_left
from workbench.server.sse import EventStream
from workbench.server.wire import Json

router = APIRouter()
MAX_TOP_LOGPROBS = 20


@router.post("/v1/chat/completions", openapi_extra=json_body(ChatBody))
@router.post("/chat/completions", openapi_extra=json_body(ChatBody), include_in_schema=False)
async def chat_completions(http: Request) -> Response:
    """Answers a conversation. With `stream` the answer is server-sent events, each with the next piece."""
    body = await read_body(http, ChatBody)
    serving = serving_of(http)
    head = Head(serving, body, "chatcmpl")
    body.rid = head.id
    call = chat_call(body)
    events = start_chat(serving, call)
    if body.stream:
        return EventStream(chat_chunks(await events, head, body, call.n))
    return Json(await until_left(_answer(events, head), http))


def chat_call(body: ChatBody) -> ChatCall:
    """Returns the call of a body. Raises what `check` raises, and Problem for values that exclude each other."""
    body.check()
    if body.top_logprobs is not None and not 0 <= body.top_logprobs <= MAX_TOP_LOGPROBS:
        raise Problem(400, f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}", "top_logprobs", "invalid_value")
    if body.top_logprobs and not body.logprobs:
        raise Problem(400, "top_logprobs need logprobs: true", "top_logprobs", "invalid_value")
    if body.n is not None and not 1 <= body.n <= MAX_SAMPLES:
        raise Problem(400, f"n is {body.n}, it must be between 1 and {MAX_SAMPLES}", "n", "invalid_value")
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    kwargs = dict(body.chat_template_kwargs or {})
    if body.reasoning_effort is not None:
        kwargs.setdefault("reasoning_effort", body.reasoning_effort)
    return ChatCall(
        messages=body.messages,
        tools=body.tools or (),
        tool_choice=body.tool_choice,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        sampling={**body.sampling(), **({"max_new_tokens": limit} if limit is not None else {})},
        response_format=body.response_format,
        n=1 if body.n is None else body.n,
        logprobs=bool(body.logprobs),
        top_logprobs=body.top_logprobs or 0,
        separate_reasoning=body.separate_reasoning is not False,
        chat_template_kwargs=kwargs,
        add_generation_prompt=body.add_generation_prompt is not False,
        continue_final_message=bool(body.continue_final_message),
        rid=body.rid or "",
        options=body.options(),
    )


async def _answer(events: Awaitable[AsyncIterator[ChatEvent]], head: Head) -> dict[str, Any]:
    result = await collect_chat(await events)
    return {
        **head.of("chat.completion"),
        "choices": [_choice(i, choice) for i, choice in enumerate(result.choices)],
        "usage": usage_of(result.usage),
    }


def _choice(index: int, choice: ChoiceResult) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.content, "refusal": None}
    if choice.tool_calls:
        message["content"] = choice.content or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.tool_calls
        ]
    if choice.reasoning:
        message |= {"reasoning_content": choice.reasoning, "reasoning": choice.reasoning}
    return {
        "index": index,
        "message": message,
        "logprobs": None if choice.logprobs is None else {"content": choice.logprobs, "refusal": None},
        "finish_reason": choice.finish_reason,
        "matched_stop": choice.matched,
    }
