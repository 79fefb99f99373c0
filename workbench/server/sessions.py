"""`/open_session` and `/close_session`; `session_params` of `/generate` continues a turn of one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import WithJsonSchema
from starlette.responses import Response

from workbench.server.body import Body, json_body, read_body
from workbench.server.schema import whole
from workbench.server.serving import serving_of
from workbench.server.wire import Json

router = APIRouter()


class OpenBody(Body):
    """The body of `/open_session`."""

    capacity_of_str_len: Annotated[int, WithJsonSchema(whole(0))] = 0
    """Number of characters that the session is expected to hold. It limits nothing."""
    session_id: str | None = None
    """None: a random id."""


class CloseBody(Body):
    """The body of `/close_session`."""

    session_id: str
    """Id of the session."""


@router.post("/open_session", openapi_extra=json_body(OpenBody))
async def open_session(http: Request) -> Response:
    """Opens a session; the answer is its id, as a JSON string."""
    body = await read_body(http, OpenBody)
    return Json(serving_of(http).sessions.open(body.capacity_of_str_len, body.session_id))


@router.post("/close_session", openapi_extra=json_body(CloseBody))
async def close_session(http: Request) -> Response:
    """Drops a session; its running requests go on."""
    serving_of(http).sessions.close((await read_body(http, CloseBody)).session_id)
    return Json({"success": True})
