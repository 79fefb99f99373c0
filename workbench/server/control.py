"""Routes that change the engine: the cache, running requests."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import WithJsonSchema
from starlette.responses import PlainTextResponse, Response

from workbench.checkpoint.joined import joined
from workbench.config import profile_folder
from workbench.errors import EngineDead, InvalidRequest, ModelNotFound, WorkbenchError
from workbench.server.body import Body, json_body, parse, read_body, read_json
from workbench.server.schema import SOME_TEXT, many
from workbench.server.serving import serving_of
from workbench.server.wire import Json

router = APIRouter()
Name = Annotated[str, WithJsonSchema(SOME_TEXT)]
FILE = {"type": "string", "minLength": 1, "format": "byte"}


class AbortBody(Body):
    """The body of `/abort_request`."""

    rid: Name
    """Id of the request, or of a group of samples."""


class WeightsBody(Body):
    """The body of `/update_weights_from_disk`."""

    model_path: Name
    """A folder, a GGUF file or a hub id with the configuration of the served model."""
    load_format: Literal["auto", "safetensors", "gguf", "dummy"] | None = None
    """None: what the checkpoint has."""


class TensorsBody(Body):
    """The body of `/update_weights_from_tensor`."""

    serialized_named_tensors: Annotated[list[str], WithJsonSchema(many(FILE))]
    """Files of safetensors in base64, one or more. Pickled tensors are refused."""
    load_format: None = None
    """Nothing but null: the format is that of safetensors."""
    flush_cache: Literal[True] = True
    """Nothing but true: K/V of the old weights has no use."""


class ProfileBody(Body):
    """The body of `/start_profile`. A trace has the folder of the server's choice, and ends with `/stop_profile`."""

    output_dir: None = None
    """Nothing but null: the folder is WORKBENCH_TORCH_PROFILER_DIR."""
    start_step: None = None
    """Nothing but null: a trace begins at once."""
    num_steps: None = None
    """Nothing but null: a trace ends with `/stop_profile`."""
    activities: None = None
    """Nothing but null: a trace has all that the device offers."""
    profile_by_stage: Literal[False] | None = None
    """Nothing but false: prefill and decode are in one trace."""
    with_stack: Literal[False] | None = None
    """Nothing but false: a trace has no stacks."""
    record_shapes: Literal[False] | None = None
    """Nothing but false: a trace has no shapes."""


NOT_UPDATED: dict[int | str, dict[str, Any]] = {
    400: {
        "description": "The weights stay, or the body is refused.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


@router.get("/flush_cache", response_class=PlainTextResponse)
@router.post("/flush_cache", response_class=PlainTextResponse)
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
    serving_of(http).generation.abort(body.rid)
    return Json({"success": True})


@router.post("/concate_and_append_request", openapi_extra=json_body(Body))
async def concatenate_and_append(http: Request) -> Response:
    """Does nothing: the text of a joined program is the whole prompt already, and the cache finds its parts."""
    await read_json(http)
    return Json({"success": True})


@router.post("/update_weights", openapi_extra=json_body(WeightsBody), responses=NOT_UPDATED)
@router.post("/update_weights_from_disk", openapi_extra=json_body(WeightsBody), responses=NOT_UPDATED)
async def update_weights_from_disk(http: Request) -> Response:
    """Replaces the weights and empties the cache; running requests go on with the new ones. The old ones stay if it fails."""
    body = await read_body(http, WeightsBody)
    if not body.model_path:
        raise InvalidRequest("model_path", body.model_path, "the path of a checkpoint")
    try:
        await asyncio.to_thread(serving_of(http).handle.update_weights, body.model_path, body.load_format)
    except EngineDead:
        raise
    except ModelNotFound:
        message = f"Failed to get weights iterator: {body.model_path} (repository not found)."
    except WorkbenchError as error:
        message = f"Failed to update model weights: {error}"
    else:
        return Json({"success": True, "message": "Succeeded to update model weights."})
    return Json({"success": False, "message": message}, 400)


@router.post("/update_weights_from_tensor", openapi_extra=json_body(TensorsBody), responses=NOT_UPDATED)
async def update_weights_from_tensor(http: Request) -> Response:
    """Replaces the weights of the names in the body, which is JSON or safetensors as they are (application/octet-stream), and
    empties the cache. Others keep their values; all stay if it fails. An engine that is started again has those of its files."""
    raw = http.headers.get("content-type", "").startswith("application/octet-stream")
    files = [await http.body()] if raw else _files(await read_body(http, TensorsBody))
    handle = serving_of(http).handle
    try:
        await asyncio.to_thread(lambda: handle.update_tensors(joined(files)))
    except EngineDead:
        raise
    except WorkbenchError as error:
        return Json({"success": False, "message": f"Failed to update model weights: {error}"}, 400)
    return Json({"success": True, "message": "Succeeded to update model weights."})


def _files(body: TensorsBody) -> list[bytes]:
    name = "serialized_named_tensors"
    if not body.serialized_named_tensors:
        raise InvalidRequest(name, [], "at least one file of safetensors in base64")
    try:
        return [base64.b64decode(text, validate=True) for text in body.serialized_named_tensors]
    except ValueError as error:
        raise InvalidRequest.because(name, f"this is no base64: {error}", hint="encode the bytes of safetensors.save") from None


@router.get("/start_profile", response_class=PlainTextResponse)
@router.post("/start_profile", response_class=PlainTextResponse, openapi_extra=json_body(ProfileBody, required=False))
async def start_profile(http: Request) -> Response:
    """Records what torch computes from now on, for a trace in the folder WORKBENCH_TORCH_PROFILER_DIR of the server."""
    parse(await read_json(http) if await http.body() else {}, ProfileBody)
    await asyncio.to_thread(serving_of(http).handle.client.engine.start_profile, profile_folder())
    return PlainTextResponse("Profiling has started.\n")


@router.get("/stop_profile", response_class=PlainTextResponse)
@router.post("/stop_profile", response_class=PlainTextResponse)
async def stop_profile(http: Request) -> Response:
    """Ends `/start_profile` and returns the file of the trace, as text."""
    path = await asyncio.to_thread(serving_of(http).handle.client.engine.stop_profile)
    return PlainTextResponse(f"{path}\n")
