"""`/api/embed` and `/api/embeddings`."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from workbench.native.prompts import read_prompts
from workbench.server.body import json_body, read_body
from workbench.server.embedding import need_head, shortened, vectors_of
from workbench.server.ollama.bodies import EmbedBody, EmbeddingsBody
from workbench.server.problem import naming_prompt
from workbench.server.serving import serving_of
from workbench.server.wire import Json

router = APIRouter()


@router.post("/api/embed", openapi_extra=json_body(EmbedBody))
async def embed(http: Request) -> Response:
    """Returns the embeddings of texts, each of length 1. Texts beyond the context are cut unless `truncate` is false."""
    started = time.monotonic_ns()
    body = await read_body(http, EmbedBody)
    need_head(http, False, "/api/embed")
    with naming_prompt("input"):
        prompts = read_prompts(body.input, None)[1] if body.input else []
        texts, vectors = await vectors_of(http, prompts, cuts=body.truncate is not False) if prompts else ([], [])
    shown = [shortened(vector, len(vector) if body.dimensions is None else body.dimensions) for vector in vectors]
    count = sum(len(text.input_ids) for text in texts)
    times = {"total_duration": time.monotonic_ns() - started, "load_duration": 0, "prompt_eval_count": count}
    return Json({"model": serving_of(http).name, "embeddings": shown, **times})


@router.post("/api/embeddings", openapi_extra=json_body(EmbeddingsBody))
async def embeddings(http: Request) -> Response:
    """Returns the embedding of one text, in the form of older clients."""
    body = await read_body(http, EmbeddingsBody)
    need_head(http, False, "/api/embeddings")
    if not body.prompt:
        return Json({"embedding": []})
    return Json({"embedding": (await vectors_of(http, [body.prompt], cuts=True))[1][0]})
