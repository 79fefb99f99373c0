"""`/v1/chat/completions`."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from workbench.errors import InvalidRequest
from workbench.server.body import json_body, read_body
from workbench.server.chat import (
    ChatCall,
    ChatChoice,
    ChatEvent,
    ChatRun,
    ChoiceFinished,
    ReasoningDelta,
    TextDelta,
    TokenInfo,
    ToolArgumentsDelta,
    ToolCallStarted,
    collect_chat,
    start_chat,
)
from workbench.server.openai.bodies import SamplingBody, StreamOptions
from workbench.server.openai.usage import usage_of
from workbench.server.serving import serving_of, until_left
from workbench.server.sse import DONE, EventStream, data
from workbench.server.wire import Json

router = APIRouter()
MAX_TOP_LOGPROBS = 20
REASONS = {"abort": "stop"}
"""Finish reasons that OpenAI's API has no word for."""


class ChatBody(SamplingBody):
    """The body of `/v1/chat/completions`."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = True
    logprobs: bool | None = False
    top_logprobs: int | None = None
    separate_reasoning: bool | None = True
    chat_template_kwargs: dict[str, Any] | None = None
    continue_final_message: bool | None = False
    add_generation_prompt: bool | None = True
    reasoning_effort: str | None = None

    def call(self) -> ChatCall:
        """Returns the call. Raises InvalidRequest for a field outside its limits."""
        top = self.top_logprobs or 0
        if not 0 <= top <= MAX_TOP_LOGPROBS:
            raise InvalidRequest("top_logprobs", top, f"between 0 and {MAX_TOP_LOGPROBS}")
        if top and not self.logprobs:
            raise InvalidRequest.because("top_logprobs", "top_logprobs needs logprobs: true", hint="give both")
        limit = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        template_args = dict(self.chat_template_kwargs or {})
        if self.add_generation_prompt is False:
            template_args["add_generation_prompt"] = False
        return ChatCall(
            messages=self.messages, tools=self.tools or (), tool_choice=self.tool_choice or "auto",
            parallel_tool_calls=self.parallel_tool_calls is not False, sampling=self.sampling() | {"max_new_tokens": limit},
            n=1 if self.n is None else self.n, logprobs=bool(self.logprobs), top_logprobs=top,
            separate_reasoning=self.separate_reasoning is not False, template_args=template_args,
            continue_final_message=bool(self.continue_final_message), options=self.options(),
        )  # fmt: skip


@router.post("/v1/chat/completions", openapi_extra=json_body(ChatBody))
async def chat_completions(http: Request) -> Response:
    """Answers a conversation."""
    body, serving = await read_body(http, ChatBody), serving_of(http)
    call = body.call()
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": serving.name_for(body.model)}
    run = await start_chat(serving, call)
    if body.stream:
        return EventStream(_stream(run, call.n, head, body.stream_options or StreamOptions()))
    result = await until_left(collect_chat(run, call.n, run.usage), http)
    choices = [_choice(i, choice, call.logprobs) for i, choice in enumerate(result.choices)]
    return Json({**head, "object": "chat.completion", "choices": choices, "usage": usage_of(result.usage)})


def _choice(index: int, choice: ChatChoice, with_logprobs: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.content or (None if choice.tool_calls else "")}
    if choice.reasoning:
        message |= {"reasoning_content": choice.reasoning, "reasoning": choice.reasoning}
    if choice.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.tool_calls
        ]
    return {
        "index": index, "message": message, "logprobs": {"content": tokens_of(choice.tokens)} if with_logprobs else None,
        "finish_reason": REASONS.get(choice.finish_reason, choice.finish_reason), "matched_stop": choice.matched,
    }  # fmt: skip


def tokens_of(tokens: Iterable[TokenInfo]) -> list[dict[str, Any]]:
    """Returns tokens as the entries of `logprobs.content`."""
    return [
        {
            "token": token.token, "bytes": list(token.raw), "logprob": token.logprob,
            "top_logprobs": [{"token": text, "bytes": list(raw), "logprob": logprob} for text, raw, logprob in token.top],
        }
        for token in tokens
    ]  # fmt: skip


async def _stream(run: ChatRun, n: int, head: dict[str, Any], options: StreamOptions) -> AsyncIterator[bytes]:
    head = {**head, "object": "chat.completion.chunk"}

    def chunk(choices: list[dict[str, Any]], with_usage: bool | None) -> bytes:
        return data({**head, "choices": choices, **({"usage": usage_of(run.usage)} if with_usage else {})})

    for i in range(n):
        yield chunk([_delta(i, {"role": "assistant", "content": ""})], options.continuous_usage_stats)
    async for event in run:
        yield chunk([_chunk_choice(event)], options.continuous_usage_stats)
    if options.include_usage:
        yield chunk([], True)
    yield DONE


def _chunk_choice(event: ChatEvent) -> dict[str, Any]:
    match event:
        case TextDelta(choice, text, tokens):
            return _delta(choice, {"content": text}, {"content": tokens_of(tokens)} if tokens else None)
        case ReasoningDelta(choice, text):
            return _delta(choice, {"reasoning_content": text, "reasoning": text})
        case ToolCallStarted(choice, call, id, name):
            function = {"name": name, "arguments": ""}
            return _delta(choice, {"tool_calls": [{"index": call, "id": id, "type": "function", "function": function}]})
        case ToolArgumentsDelta(choice, call, text):
            return _delta(choice, {"tool_calls": [{"index": call, "function": {"arguments": text}}]})
        case ChoiceFinished(choice, reason, matched):
            return _delta(choice, {}) | {"finish_reason": REASONS.get(reason, reason), "matched_stop": matched}


def _delta(choice: int, delta: dict[str, Any], logprobs: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": None}
