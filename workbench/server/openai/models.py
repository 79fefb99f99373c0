"""`/v1/models`."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request

from workbench.server.problem import Problem
from workbench.server.serving import Serving, serving_of

router = APIRouter()
STARTED = int(time.time())


def _model(serving: Serving) -> dict[str, Any]:
    return {
        "id": serving.name, "object": "model", "created": STARTED, "owned_by": "workbench", "root": serving.args.model_path,
        "max_model_len": serving.handle.info.context_length,
    }  # fmt: skip


@router.get("/v1/models")
async def models(http: Request) -> dict[str, Any]:
    """Returns the served model."""
    return {"object": "list", "data": [_model(serving_of(http))]}


@router.get("/v1/models/{name:path}")
async def model(http: Request, name: str) -> dict[str, Any]:
    """Returns the served model by its name."""
    serving = serving_of(http)
    if name != serving.name:
        raise Problem(404, f"there is no model {name!r} here: {serving.name} is served", "model", "model_not_found")
    return _model(serving)
