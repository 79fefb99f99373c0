"""`/api/chat`, `/api/generate` and the routes about models."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

import workbench
from workbench.errors import InvalidRequest
from workbench.native.requests import GenerateRequest
from workbench.server.body import json_body, read_body
from workbench.server.chat import ChatCall, ChatEvent, ChoiceFinished, TextDelta, Usage, start_chat
from workbench.server.chat.constraint import response_fields
from workbench.server.ollama.answer import Shown, as_message, as_response, lines, whole
from workbench.server.ollama.bodies import ChatBody, GenerateBody, OllamaBody, ShowBody
from workbench.server.serving import Serving, serving_of, until_left
from workbench.server.sse import HEADERS, EventStream
from workbench.server.wire import Json, to_json

router = APIRouter()
NAMES = {"thinking": "reasoning_content", "tool_name": "name"}
"""Field of a message in OpenAI's shape by Ollama's name."""
LINES = {**HEADERS, "content-type": "application/x-ndjson"}


@router.post("/api/chat", openapi_extra=json_body(ChatBody, LINES["content-type"]))
async def chat(http: Request) -> Response:
    """Answers a conversation, as lines of JSON unless `stream` is false."""
    body, serving = await read_body(http, ChatBody), serving_of(http)
    if not body.messages:
        return Json(_head(serving) | {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "load"})
    messages = [_message(each, i) for i, each in enumerate(body.messages)]
    return await _answer(http, body, _call(body, messages, body.tools), as_message)


@router.post("/api/generate", openapi_extra=json_body(GenerateBody, LINES["content-type"]))
async def generate(http: Request) -> Response:
    """Answers one prompt in the chat template, or continues it as it is with `raw`."""
    body, serving = await read_body(http, GenerateBody), serving_of(http)
    body.check()
    if not body.prompt:
        return Json(_head(serving) | {"response": "", "done": True, "done_reason": "load"})
    if body.raw and body.images:
        raise InvalidRequest.because("images", "raw prompts have no place for pictures", hint="leave raw out")
    if body.raw:
        return await _raw(http, body, body.prompt)
    system = [{"role": "system", "content": body.system}] if body.system else []
    asked = _message({"role": "user", "content": body.prompt, "images": body.images}, len(system))
    call = replace(_call(body, [*system, asked], None), messages_field="prompt")
    return await _answer(http, body, call, as_response)


@router.get("/api/version")
async def version() -> Response:
    """Returns the version of this package."""
    return Json({"version": workbench.__version__})


@router.get("/api/tags")
async def tags(http: Request) -> Response:
    """Returns the served model."""
    return Json({"models": [_model(serving_of(http))]})


@router.get("/api/ps")
async def loaded(http: Request) -> Response:
    """Returns the served model, which is loaded."""
    serving = serving_of(http)
    return Json({"models": [_model(serving) | {"size_vram": 0, "expires_at": "2999-01-01T00:00:00Z"}]})


@router.post("/api/show", openapi_extra=json_body(ShowBody))
async def show(http: Request) -> Response:
    """Returns facts of the served model, whatever name is given."""
    await read_body(http, ShowBody)
    serving = serving_of(http)
    info, template = serving.handle.info, str((serving.tokenizer_facts() or {}).get("chat_template") or "")
    family = info.architecture.lower()
    return Json({
        "details": _details(serving), "template": template, "parameters": "", "modelfile": "", "license": "",
        "capabilities": ["completion", *(["tools"] if "tools" in template else [])],
        "model_info": {"general.architecture": family, f"{family}.context_length": info.context_length},
        "modified_at": _now(),
    })  # fmt: skip


def _call(body: OllamaBody, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> ChatCall:
    kwargs = {} if body.think is None else {"enable_thinking": bool(body.think)}
    return ChatCall(
        messages=messages, tools=tools or (), sampling=body.sampling(), response_format=body.response_format(),
        chat_template_kwargs=kwargs,
    )  # fmt: skip


def _message(message: dict[str, Any], i: int) -> dict[str, Any]:
    made = {NAMES.get(name, name): value for name, value in message.items() if name != "images"}
    if not (images := message.get("images")):
        return made
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise InvalidRequest(f"messages[{i}].images", images, "a list of pictures in base64")
    parts = [{"type": "image_url", "image_url": {"url": f"data:;base64,{image}"}} for image in images]
    return made | {"content": [*parts, {"type": "text", "text": str(made.get("content") or "")}]}


async def _answer(http: Request, body: OllamaBody, call: ChatCall, shown: Shown) -> Response:
    serving, started = serving_of(http), time.monotonic_ns()
    events = start_chat(serving, call)
    if body.stream is False:
        return Json(await until_left(whole(events, _head(serving), shown, started), http))
    stream = lines(await events, _head(serving), shown, started)
    return EventStream(stream, lambda problem: to_json(problem.ollama()) + b"\n", LINES)


async def _raw(http: Request, body: GenerateBody, prompt: str) -> Response:
    """Continues a prompt without a template."""
    serving, started = serving_of(http), time.monotonic_ns()
    params = {"max_new_tokens": 128} | body.sampling() | response_fields(body.response_format())
    request = GenerateRequest.make(prompt, None, params, {}, stream=True)
    running = await serving.submit(request)
    outputs = serving.generation.outputs(running)  # an answer that is never read drops them, which aborts the request

    async def events() -> AsyncIterator[ChatEvent]:
        num_tokens, num_prompt = 0, len(running.batch.requests[0].input_ids)
        async for _, out in outputs:
            num_tokens += len(out.token_ids)
            yield TextDelta(0, out.text)
            if out.finish is not None:
                yield ChoiceFinished(0, out.finish.type)
            yield Usage(num_prompt, num_tokens, out.num_cached, 0)

    if body.stream is False:

        async def begun() -> AsyncIterator[ChatEvent]:
            return events()

        return Json(await until_left(whole(begun(), _head(serving), as_response, started), http))
    stream = lines(events(), _head(serving), as_response, started)
    return EventStream(stream, lambda problem: to_json(problem.ollama()) + b"\n", LINES)


def _head(serving: Serving) -> dict[str, Any]:
    return {"model": serving.name, "created_at": _now()}


def _model(serving: Serving) -> dict[str, Any]:
    size = serving.handle.info.weights_bytes
    names = {"name": serving.name, "model": serving.name}
    return {**names, "modified_at": _now(), "size": size, "digest": "", "details": _details(serving)}


def _details(serving: Serving) -> dict[str, Any]:
    info = serving.handle.info
    family = info.architecture.lower()
    return {
        "format": "",
        "family": family,
        "families": [family],
        "parameter_size": "",
        "quantization_level": info.quantization or info.dtype,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
