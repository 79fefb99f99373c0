"""`/generate`, the native route."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from workbench.native.requests import GenerateRequest
from workbench.native.results import Completion
from workbench.server.body import Body, json_body, read_json
from workbench.server.serving import serving_of
from workbench.server.sse import DONE, EventStream, data

router = APIRouter()


class GenerateBody(Body):
    """The body of `/generate` (section E of the checklist)."""

    text: str | list[str] | None = None
    """Prompt, or prompts."""
    input_ids: list[int] | list[list[int]] | None = None
    """Token ids in the place of `text`."""
    sampling_params: dict[str, Any] | list[dict[str, Any]] | None = None
    stream: bool | None = False


@router.post("/generate", openapi_extra=json_body(GenerateBody))
async def generate(http: Request) -> Response:
    """Continues prompts. With `stream` the answer is server-sent events, each with the whole text so far."""
    body = await read_json(http)
    serving = serving_of(http)
    request = GenerateRequest.from_json(body)
    if request.stream:
        return EventStream(_events(await serving.start_stream(request)))
    return JSONResponse(await serving.complete(request, http))


async def _events(chunks: AsyncIterator[Completion]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield data(chunk)
    yield DONE
