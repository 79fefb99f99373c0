"""`/v1/models`."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from workbench.server.problem import Problem
from workbench.server.serving import Serving, serving_of

router = APIRouter()
STARTED = int(time.time())


@router.get("/v1/models")
async def list_models(http: Request) -> dict[str, Any]:
    """Returns the served model."""
    return {"object": "list", "data": [_model(serving_of(http))]}


@router.get("/v1/models/{model_id:path}")
async def get_model(http: Request, model_id: Annotated[str, Path(description="Name of the served model.")]) -> dict[str, Any]:
    """Returns the served model by its name."""
    serving = serving_of(http)
    if model_id != serving.name:
        raise Problem(404, f"there is no model {model_id!r}: {serving.name!r} is served", "model", "model_not_found")
    return _model(serving)


def _model(serving: Serving) -> dict[str, Any]:
    name = serving.name
    context = serving.handle.info.context_length
    return {
        "id": name, "object": "model", "created": STARTED, "owned_by": "workbench", "root": name, "parent": None,
        "max_model_len": context, "context_length": context,
    }  # fmt: skip
