"""Routes about the server: its health, its model, its settings."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from workbench.errors import QueueFull
from workbench.native.requests import GenerateRequest
from workbench.server.metrics import HEALTH
from workbench.server.problem import Problem
from workbench.server.serving import Serving, serving_of
from workbench.server.wire import Json
from workbench.types import EncodeRequest

router = APIRouter()
SECRETS = ("api_key", "admin_api_key")


@router.get("/health")
@router.get("/ping")
async def health(http: Request) -> Response:
    """Returns status 200 while the engine lives and answers, else 503. A long step changes nothing of it."""
    if reason := await serving_of(http).fault():
        raise Problem(503, reason, code="engine_unavailable")
    return Json({"status": "ok"})


@router.get("/health_generate")
async def health_generate(http: Request) -> Response:
    """Generates one token, or encodes one; returns status 200, or 503 if the engine cannot.

    With a full queue it waits for the end of a step instead.
    """
    serving = serving_of(http)
    await health(http)
    if serving.args.is_embedding:
        await serving.encoding.vectors([EncodeRequest(rid=HEALTH, input_ids=(0,), namespace=HEALTH)])
        return Json({"status": "ok"})
    params = {"max_new_tokens": 1, "temperature": 0}
    try:
        await serving.complete(GenerateRequest.make(None, [0], params, {"namespace": HEALTH}), http)
    except QueueFull:
        await _load(serving)  # answered between two steps: the engine works on what it has
    return Json({"status": "ok"})


@router.get("/get_load")
async def get_load(http: Request) -> Response:
    """Returns how many requests run and wait, and the use of memory, between two steps."""
    return Json(msgspec.structs.asdict(await _load(serving_of(http))))


@router.get("/get_model_info")
@router.get("/model_info")
async def get_model_info(http: Request) -> dict[str, Any]:
    """Returns the paths of the model and of its tokenizer, and whether it generates text; of one that sees, the placeholders of
    pictures in prompts."""
    args = serving_of(http).args
    tokenizer_path = args.tokenizer_path or args.model_path
    marks = serving_of(http).handle.picture_marks
    return {
        "model_path": args.model_path, "tokenizer_path": tokenizer_path, "is_generation": not args.is_embedding,
        **({"picture_marks": marks} if marks else {}),
    }  # fmt: skip


@router.get("/get_server_info")
@router.get("/server_info")
async def get_server_info(http: Request) -> Response:
    """Returns the settings, the values that None and "auto" became, the sizes of the memory, and the present load."""
    serving = serving_of(http)
    info, load = serving.handle.info, await _load(serving)
    pool = {"memory_pool_size": info.max_total_num_tokens, "tokenizer": serving.tokenizer_facts()}
    return Json(settings_of(serving) | msgspec.structs.asdict(info) | msgspec.structs.asdict(load) | pool)


@router.get("/get_server_args")
async def get_server_args(http: Request) -> Response:
    """Returns the settings. `/get_server_info` has them too."""
    return Json(settings_of(serving_of(http)))


@router.get("/get_memory_pool_size")
@router.get("/get_max_total_num_tokens")
async def get_max_total_num_tokens(http: Request) -> Response:
    """Returns the number of tokens that the K/V pool holds. `/get_server_info` has it too."""
    return Json({"max_total_num_tokens": serving_of(http).handle.info.max_total_num_tokens})


def settings_of(serving: Serving) -> dict[str, Any]:
    """Returns the settings by name, with stars in the place of keys."""
    settings = serving.args.to_dict()
    return settings | {name: "***" for name in SECRETS if settings[name]}


async def _load(serving: Serving) -> Any:
    return await asyncio.to_thread(serving.handle.client.engine.get_load)
