"""`/v1/completions`: the legacy route, which load generators and evaluation tools use."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from workbench.errors import InvalidRequest, NotSupported
from workbench.native.requests import GenerateRequest
from workbench.native.results import Completion
from workbench.server.body import json_body, read_body
from workbench.server.chat import Usage
from workbench.server.openai.bodies import SamplingBody, StreamOptions
from workbench.server.openai.legacy_logprobs import LegacyLogprobs
from workbench.server.openai.usage import usage_of
from workbench.server.serving import Serving, serving_of
from workbench.server.sse import DONE, EventStream, data
from workbench.server.wire import Json

router = APIRouter()
MAX_TOKENS = 16
"""Most output tokens where the body gives no limit, as in OpenAI's API."""
MAX_PROMPTS = 2048
MAX_LOGPROBS = 20


class CompletionBody(SamplingBody):
    """The body of `/v1/completions`."""

    prompt: str | list[str] | list[int] | list[list[int]]
    echo: bool | None = False
    logprobs: int | None = None
    best_of: int | None = None
    suffix: str | None = None

    def request(self) -> GenerateRequest:
        """Returns the native request. Raises InvalidRequest, NotSupported."""
        if self.suffix:
            raise NotSupported("suffix: insertion is not available", hint="leave it out")
        n = 1 if self.n is None else self.n
        if self.best_of not in (None, n):
            raise NotSupported("best_of other than n is not available", hint="set n, and choose among the choices")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise InvalidRequest("logprobs", self.logprobs, f"between 0 and {MAX_LOGPROBS}")
        prompts = self.prompt if isinstance(self.prompt, list) else [self.prompt]
        if not prompts or (len(prompts) > MAX_PROMPTS and not isinstance(prompts[0], int)):
            raise InvalidRequest.because("prompt", f"{len(prompts)} prompts are given; 1 to {MAX_PROMPTS} are possible", hint="")
        is_text = isinstance(prompts[0], str)
        limit = MAX_TOKENS if self.max_tokens is None else self.max_tokens
        options = self.options()
        if self.logprobs is not None:
            options |= {"return_logprob": True, "top_logprobs_num": self.logprobs}
            options |= {"logprob_start_len": 0} if self.echo else {}
        params = {"temperature": 1.0} | self.sampling() | {"n": n, "max_new_tokens": limit}
        ids = None if is_text else [prompts] if isinstance(prompts[0], int) else prompts
        return GenerateRequest.make(prompts if is_text else None, ids, params, options, bool(self.stream))


@router.post("/v1/completions", openapi_extra=json_body(CompletionBody))
async def completions(http: Request) -> Response:
    """Continues prompts. Choice `i * n + j` is sample `j` of prompt `i`."""
    body, serving = await read_body(http, CompletionBody), serving_of(http)
    request = body.request()
    head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time())}
    head["model"] = serving.name_for(body.model)
    echo = _echo(serving, request) if body.echo else []
    names = LegacyLogprobs(serving.token_names()) if body.logprobs is not None else None
    if request.stream:
        chunks = await serving.start_stream(request)
        options = body.stream_options or StreamOptions()
        return EventStream(_stream(chunks, head, echo, names, options, sum(each.params.n for each in request.prompts)))
    results: Any = await serving.complete(request, http)
    flat = [one for each in results for one in (each if isinstance(each, list) else [each])]
    n = request.prompts[0].params.n
    choices = [_choice(i, one, echo[i // n] if echo else "", names) for i, one in enumerate(flat)]
    return Json({**head, "choices": choices, "usage": usage_of(_usage(flat, n))})


def _echo(serving: Serving, request: GenerateRequest) -> list[str]:
    tokenizer = serving.handle.tokenizer
    prompts = (each.prompt for each in request.prompts)
    return [prompt if isinstance(prompt, str) else tokenizer.decode(prompt, skip_special_tokens=False) for prompt in prompts]


def _choice(index: int, result: Completion, echo: str, names: LegacyLogprobs | None) -> dict[str, Any]:
    finish = result["meta_info"]["finish_reason"]
    return {
        "index": index,
        "text": echo + result["text"],
        "logprobs": None if names is None else names.whole(result["meta_info"]),
        "finish_reason": None if finish is None else {"abort": "stop"}.get(finish["type"], finish["type"]),
        "matched_stop": None if finish is None else finish.get("matched"),
    }


def _usage(results: list[Completion], n: int) -> Usage:
    metas = [result["meta_info"] for result in results]
    prompts = metas[::n]
    return Usage(
        sum(meta["prompt_tokens"] for meta in prompts), sum(meta["completion_tokens"] for meta in metas),
        sum(meta["cached_tokens"] for meta in prompts),
    )  # fmt: skip


async def _stream(
    chunks: AsyncIterator[Completion], head: dict[str, Any], echo: list[str], names: LegacyLogprobs | None,
    options: StreamOptions, num_choices: int,
) -> AsyncIterator[bytes]:  # fmt: skip
    last: dict[int, Completion] = {}
    per_prompt = num_choices // len(echo) if echo else 1

    def usage() -> dict[str, Any]:
        return {"usage": usage_of(_usage([last[i] for i in sorted(last)], per_prompt if echo else 1))}

    async for chunk in chunks:
        i = chunk.get("index", 0)
        before = last.get(i)
        last[i] = chunk
        choice = _choice(i, chunk, "", None)
        choice["text"] = (
            chunk["text"][len(before["text"]) :] if before else (echo[i // per_prompt] if echo else "") + chunk["text"]
        )
        if names is not None:
            choice["logprobs"] = names.since(chunk["meta_info"], None if before is None else before["meta_info"])
        yield data({**head, "choices": [choice], **(usage() if options.continuous_usage_stats else {})})
    if options.include_usage:
        yield data({**head, "choices": [], **usage()})
    yield DONE
