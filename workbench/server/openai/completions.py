"""`/v1/completions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from workbench.native.requests import GenerateRequest, PromptBatch
from workbench.server.body import json_body, read_body
from workbench.server.openai.bodies import CompletionBody, StreamOptions
from workbench.server.openai.common import Head, usage_so_far
from workbench.server.openai.completion_call import Answer, best_of, generate_request, usage
from workbench.server.serving import Serving, serving_of, until_left
from workbench.server.sse import DONE, EventStream, data
from workbench.server.wire import Json
from workbench.types import InputEmbeds, TokenOut

router = APIRouter()
KIND = "text_completion"
Outputs = AsyncIterator[tuple[int, TokenOut]]


@router.post("/v1/completions", openapi_extra=json_body(CompletionBody))
@router.post("/completions", openapi_extra=json_body(CompletionBody), include_in_schema=False)
async def completions(http: Request) -> Response:
    """Continues prompts. With `stream` the answer is server-sent events, each with the next piece."""
    body = await read_body(http, CompletionBody)
    serving = serving_of(http)
    head = Head(serving, body, "cmpl")
    if isinstance(body.prompt, str):
        body.rid = head.id
    request = generate_request(body)
    if not body.stream:
        return Json(await until_left(_whole(serving, request, head, body), http))
    answers, outputs = await _start(serving, request, body)
    return EventStream(_chunks(answers, outputs, head, body))


async def _start(serving: Serving, request: GenerateRequest, body: CompletionBody) -> tuple[list[Answer], Outputs]:
    running = await serving.submit(request)
    outputs = serving.generation.outputs(running)  # before anything is waited for: dropped, they abort the requests
    return await asyncio.to_thread(_answers, serving, request, running.batch, body), outputs


def _answers(serving: Serving, request: GenerateRequest, batch: PromptBatch, body: CompletionBody) -> list[Answer]:
    num = best_of(body)
    prompts = [each.prompt for each in request.prompts if not isinstance(each.prompt, InputEmbeds)]  # this API has none of these
    return [Answer(serving, body, each, prompts[i // num]) for i, each in enumerate(batch.requests)]


async def _whole(serving: Serving, request: GenerateRequest, head: Head, body: CompletionBody) -> dict[str, Any]:
    answers, outputs = await _start(serving, request, body)
    choices: list[dict[str, Any]] = [{"text": "", "logprobs": None, "finish_reason": None} for _ in answers]
    async with aclosing(outputs):  # type: ignore[type-var]
        async for i, out in outputs:
            _extend(choices[i], answers[i].push(out))
    num, n = best_of(body), body.n or 1
    chosen: list[int] = []
    for first in range(0, len(answers), num):
        chosen += sorted(range(first, first + num), key=lambda i: -answers[i].mean)[:n] if num > n else range(first, first + n)
    return {
        **head.of(KIND),
        "choices": [{"index": index, **choices[i]} for index, i in enumerate(chosen)],
        "usage": usage(answers, num),
    }


def _extend(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    """Adds the next piece of an answer to the whole."""
    scores = choice["logprobs"]
    if scores is not None:
        for name, values in piece["logprobs"].items():
            scores[name] += values
    choice.update({**piece, "text": choice["text"] + piece["text"], "logprobs": scores or piece["logprobs"]})


async def _chunks(answers: list[Answer], outputs: Outputs, head: Head, body: CompletionBody) -> AsyncIterator[bytes]:
    options = body.stream_options or StreamOptions()
    num = best_of(body)
    async with aclosing(outputs):  # type: ignore[type-var]
        async for i, out in outputs:
            piece = answers[i].push(out)
            if piece["text"] or piece["logprobs"] or piece["finish_reason"]:
                more = usage_so_far(options, usage(answers, num))
                yield data({**head.of(KIND), "choices": [{"index": i, **piece}], **more})
    if options.include_usage:
        yield data({**head.of(KIND), "choices": [], "usage": usage(answers, num)})
    yield DONE
