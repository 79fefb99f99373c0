"""Routes that change the engine: the cache, running requests."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from workbench.errors import InvalidRequest
from workbench.server.body import Body, json_body, read_body, read_json
from workbench.server.serving import serving_of
from workbench.server.wire import Json

router = APIRouter()


class AbortBody(Body):
    """The body of `/abort_request`."""

    rid: str
    """Id of the request, or of a group of samples."""


@router.get("/flush_cache")
@router.post("/flush_cache")
async def flush_cache(http: Request) -> Response:
    """Drops every cached prefix that no request uses."""
    num_tokens = await asyncio.to_thread(serving_of(http).handle.client.engine.flush_cache)
    return PlainTextResponse(f"Cache flushed: {num_tokens} tokens dropped.\n")


@router.post("/abort_request", openapi_extra=json_body(AbortBody))
async def abort_request(http: Request) -> Response:
    """Ends a request soon; ids that are not in use are ignored."""
    body = await read_body(http, AbortBody)
    if not body.rid:
        raise InvalidRequest("rid", body.rid, "the id of a request")
    serving_of(http).handle.client.abort(body.rid)
    return Json({"success": True})


@router.post("/concate_and_append_request", openapi_extra=json_body(Body))
async def concatenate_and_append(http: Request) -> Response:
    """Does nothing: the text of a joined program is the whole prompt already, and the cache finds its parts."""
    await read_json(http)
    return Json({"success": True})
