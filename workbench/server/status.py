"""Routes about the server: its health, its model, its settings."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from workbench.server.problem import Problem
from workbench.server.serving import serving_of

router = APIRouter()


@router.get("/health")
async def health(http: Request) -> Response:
    """Returns status 200 while the engine lives and answers, else 503. A long step changes nothing of it."""
    if reason := await serving_of(http).fault():
        raise Problem(503, reason, code="engine_unavailable")
    return JSONResponse({"status": "ok"})


@router.get("/get_load")
async def get_load(http: Request) -> Response:
    """Returns how many requests run and wait, and the use of memory, between two steps."""
    load = await asyncio.to_thread(serving_of(http).handle.client.engine.get_load)
    return JSONResponse(msgspec.structs.asdict(load))


@router.get("/get_model_info")
async def get_model_info(http: Request) -> dict[str, Any]:
    """Returns the paths of the model and of its tokenizer, and whether it generates text."""
    args = serving_of(http).args
    tokenizer_path = args.tokenizer_path or args.model_path
    return {"model_path": args.model_path, "tokenizer_path": tokenizer_path, "is_generation": not args.is_embedding}
