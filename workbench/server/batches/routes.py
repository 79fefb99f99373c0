"""`/v1/files` and `/v1/batches`."""

from __future__ import annotations

import asyncio
import errno
import re
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Path, Query, Request
from pydantic import WithJsonSchema
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from workbench.errors import InvalidRequest
from workbench.server.batches.lines import ENDPOINTS
from workbench.server.batches.runner import WINDOW_S, BatchRunner
from workbench.server.batches.store import ENDED
from workbench.server.body import Body, json_body, read_body
from workbench.server.problem import Problem
from workbench.server.wire import Json

router = APIRouter()
T = TypeVar("T")
FileId = Annotated[str, Path(description="Id of the file.")]
BatchId = Annotated[str, Path(description="Id of the batch.")]
After = Annotated[str | None, Query(description="Id of the last entry of the page before. None: the first page.")]
MOST = "Most entries of a page."
CHUNK = 2**20
UPLOAD = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
        "type": "object", "required": ["file", "purpose"],
        "properties": {
            "file": {"type": "string", "format": "binary", "description": "Bytes of the file, with its name."},
            "purpose": {"type": "string", "description": "Use of the file: `batch`."},
        },
    }}}}
}  # fmt: skip


class BatchBody(Body):
    """The body of `/v1/batches`."""

    input_file_id: str
    """Id of the uploaded file with a request on each line."""
    endpoint: Annotated[str, WithJsonSchema({"enum": [*ENDPOINTS]})]
    """Route that answers the lines, such as `/v1/chat/completions`."""
    completion_window: Annotated[str, WithJsonSchema({"const": "24h"})] = "24h"
    """Time after which a batch expires: 24 hours, nothing else."""
    metadata: dict[str, str] | None = None
    """Notes of the client, returned as they are."""


def _runner(http: Request) -> BatchRunner:
    runner: BatchRunner = http.app.state.batches
    return runner


async def _stored(work: Callable[..., T], *args: Any) -> T:
    """Returns what `work` returns, on a thread. Raises Problem 507 when the disk is full."""
    try:
        return await asyncio.to_thread(work, *args)
    except sqlite3.OperationalError as error:
        raise Problem(507, f"the server cannot store that: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Problem(507, f"the server cannot store that: {error.strerror}") from error
        raise


@router.post("/v1/files", openapi_extra=UPLOAD)
async def upload(http: Request) -> Response:
    """Keeps a file."""
    try:
        async with http.form(max_files=1) as form:
            file, purpose = form.get("file"), form.get("purpose")
            if not isinstance(file, UploadFile):
                raise InvalidRequest.because(
                    "file", "the form has no file", hint="send multipart/form-data with file and purpose"
                )
            name = re.sub(r"[^\w.() -]", "_", (file.filename or "file").replace("\\", "/").rpartition("/")[2])[:200]
            chunks = iter(lambda: file.file.read(CHUNK), b"")
            return Json(await _stored(_runner(http).store.add_file, name, str(purpose or "batch"), chunks))
    except HTTPException as error:  # Starlette's: a form that is none
        raise Problem(400, f"the body is no multipart form: {error.detail}") from None


@router.get("/v1/files")
async def files(
    http: Request, after: After = None, limit: Annotated[int, Query(ge=1, le=10_000, description=MOST)] = 10_000,
    order: Annotated[Literal["asc", "desc"], Query(description="Order by age: the newest first, or the oldest.")] = "desc",
    purpose: Annotated[str | None, Query(description="Use of the files that are listed. None: all.")] = None,
) -> Response:  # fmt: skip
    """Returns a page of the files."""
    found = [each for each in _runner(http).store.files() if purpose in (None, each["purpose"])]
    return Json(_page(found[:: 1 if order == "desc" else -1], after, limit))


@router.get("/v1/files/{file_id}")
async def file(http: Request, file_id: FileId) -> Response:
    """Returns facts of a file."""
    return Json(_file(http, file_id))


@router.get("/v1/files/{file_id}/content")
async def content(http: Request, file_id: FileId) -> Response:
    """Returns the bytes of a file."""
    return FileResponse(_runner(http).store.path_of(_file(http, file_id)["id"]), media_type="application/octet-stream")


@router.delete("/v1/files/{file_id}")
async def delete(http: Request, file_id: FileId) -> Response:
    """Removes a file."""
    found = _file(http, file_id)
    if not await _stored(_runner(http).store.remove_file, found["id"]):
        raise Problem(409, "a batch that has not ended reads the file: cancel it first", "file_id", "file_in_use")
    return Json({"id": found["id"], "object": "file", "deleted": True})


@router.post("/v1/batches", openapi_extra=json_body(BatchBody))
async def create(http: Request) -> Response:
    """Starts a batch."""
    body, runner = await read_body(http, BatchBody), _runner(http)
    endpoint = body.endpoint if body.endpoint.startswith("/v1/") else f"/v1{body.endpoint}"
    if endpoint not in ENDPOINTS:
        raise InvalidRequest("endpoint", body.endpoint, f"one of {', '.join(ENDPOINTS)}")
    if body.completion_window != "24h":
        raise InvalidRequest("completion_window", body.completion_window, "24h")
    fields = {"input_file_id": body.input_file_id, "endpoint": endpoint, "metadata": body.metadata}
    batch_id = await _stored(runner.store.add_batch, fields)
    if not batch_id:
        raise Problem(404, f"there is no file {body.input_file_id[:80]!r}", "input_file_id", "not_found")
    runner.wake()
    return Json(_shown(runner, batch_id))


@router.get("/v1/batches")
async def batches(
    http: Request, after: After = None, limit: Annotated[int, Query(ge=1, le=100, description=MOST)] = 20
) -> Response:
    """Returns a page of the batches, the newest first."""
    runner = _runner(http)
    page = _page([{"id": each} for each in runner.store.batches()], after, limit)
    return Json(page | {"data": [_shown(runner, each["id"]) for each in page["data"]]})


@router.get("/v1/batches/{batch_id}")
async def batch(http: Request, batch_id: BatchId) -> Response:
    """Returns a batch."""
    return Json(_shown(_runner(http), batch_id))


@router.post("/v1/batches/{batch_id}/cancel")
async def cancel(http: Request, batch_id: BatchId) -> Response:
    """Cancels a batch: open requests finish, no other is begun. The status is "cancelling" until then."""
    runner = _runner(http)
    status = _shown(runner, batch_id)["status"]
    if not await _stored(partial(runner.store.set_status, batch_id, "cancelling", unless=ENDED)):
        raise Problem(409, f"the batch is {status}: it cannot be cancelled any more", "batch_id", "invalid_state")
    return Json(_shown(runner, batch_id))


def _page(items: list[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    """Returns one page of a list. Raises Problem 404 for an `after` that is not in it."""
    ids = [each["id"] for each in items]
    if after is not None and after not in ids:
        raise Problem(404, f"there is no {after[:80]!r} in this list", "after", "not_found")
    first = 0 if after is None else ids.index(after) + 1
    data = items[first : first + limit]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": len(items) > first + limit}


def _file(http: Request, file_id: str) -> dict[str, Any]:
    found = _runner(http).store.file(file_id)
    if found is None:
        raise Problem(404, f"there is no file {file_id[:80]!r}", "file_id", "not_found")
    return found


def _shown(runner: BatchRunner, batch_id: str) -> dict[str, Any]:
    """Returns a batch in the form of the API. Raises Problem 404."""
    batch = runner.store.batch(batch_id)
    if batch is None:
        raise Problem(404, f"there is no batch {batch_id[:80]!r}", "batch_id", "not_found")
    completed, failed = runner.store.counts(batch_id)
    counts = {
        "total": batch.pop("total", 0), "completed": batch.pop("completed", completed), "failed": batch.pop("failed", failed),
    }  # fmt: skip
    return {
        "object": "batch", "errors": None, "output_file_id": None, "error_file_id": None, "completion_window": "24h",
        "expires_at": batch["created_at"] + WINDOW_S, "request_counts": counts, **batch,
    }  # fmt: skip
