"""Routes of embedding and reward models: `/encode`, `/classify`, `/v1/embeddings`, `/v1/score`, `/rerank`."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import WithJsonSchema
from starlette.responses import Response

from workbench.api.encoding import Pair, Vector, shaped
from workbench.errors import InvalidRequest, NotSupported
from workbench.native.prompts import Prompt, read_prompts
from workbench.server import shapes
from workbench.server.body import Body, json_body, read_body
from workbench.server.problem import naming_prompt
from workbench.server.schema import TEXT, many
from workbench.server.serving import serving_of, until_left
from workbench.server.wire import Json
from workbench.types import EncodeRequest

router = APIRouter()


class TextsBody(Body):
    """The part that the bodies of all these routes have."""

    model: str | None = None
    """Name of a model; whatever it is, the served one answers."""
    log_metrics: bool | None = True
    """False leaves the texts out of the metrics."""


class EncodeBody(TextsBody):
    """The body of `/encode` and `/classify`."""

    ONE_OF = ("text", "input_ids")

    text: shapes.Texts = None
    """Text, or several."""
    input_ids: shapes.Ids = None
    """Token ids in the place of texts."""


class EmbeddingsBody(TextsBody):
    """The body of `/v1/embeddings`."""

    ONE_OF = ("input", "input_ids")

    input: shapes.PromptsOrNone = None
    """Text, texts, token ids, or lists of these."""
    input_ids: shapes.Ids = None
    """Token ids in the place of `input`."""
    encoding_format: Literal["float", "base64"] | None = "float"
    """Form of a vector: numbers, or base64 of little-endian float32."""
    dimensions: shapes.Positive = None
    """Length of the vectors: their first numbers, normalised again. None: all."""


class ScoreBody(TextsBody):
    """The body of `/v1/score`."""

    text_1: shapes.AnyTexts
    """Text, or one for each of `text_2`."""
    text_2: shapes.AnyTexts
    """Text, or several, each scored with its `text_1`."""


class RerankBody(TextsBody):
    """The body of `/rerank`."""

    query: str
    """Text that the documents are compared with."""
    documents: Annotated[list[str], WithJsonSchema(many(TEXT))]
    """Texts to put in order."""
    top_n: shapes.Positive = None
    """Number of documents that are returned, at least 1. None: all."""
    return_documents: bool | None = True
    """Switch to return the texts beside their scores."""


@router.post("/encode", openapi_extra=json_body(EncodeBody))
async def encode(http: Request) -> Response:
    """Returns the embedding of a text, or the scores of a reward model; a list for several texts."""
    body = await read_body(http, EncodeBody)
    is_one, prompts = read_prompts(body.text, body.input_ids)
    with naming_prompt("text"):
        texts, vectors = await vectors_of(http, prompts, counted=body.log_metrics is not False)
    return Json(shaped(is_one, texts, vectors))


@router.post("/classify", openapi_extra=json_body(EncodeBody))
async def classify(http: Request) -> Response:
    """Returns the scores of a classification head: of item i, `[i]["embedding"]`."""
    need_head(http, True, "/classify")
    return await encode(http)


@router.post("/v1/embeddings", openapi_extra=json_body(EmbeddingsBody))
async def embeddings(http: Request) -> Response:
    """Returns embeddings in OpenAI's form; base64 is that of little-endian float32."""
    body = await read_body(http, EmbeddingsBody)
    need_head(http, False, "/v1/embeddings")
    with naming_prompt("input"):
        texts, vectors = await vectors_of(http, _openai_prompts(body), counted=body.log_metrics is not False)
    if body.dimensions is not None:
        vectors = [shortened(vector, body.dimensions) for vector in vectors]
    data = [
        {"object": "embedding", "index": i, "embedding": _base64(vector) if body.encoding_format == "base64" else vector}
        for i, vector in enumerate(vectors)
    ]
    return Json({"object": "list", "data": data, "model": serving_of(http).name_for(body.model), "usage": _usage(texts)})


@router.post("/v1/score", openapi_extra=json_body(ScoreBody))
@router.post("/score", openapi_extra=json_body(ScoreBody))
async def score(http: Request) -> Response:
    """Returns the cosine of the embeddings of two texts, or a cross-encoder's score of the pair.

    One text in `text_1` is paired with each of `text_2`.
    """
    body = await read_body(http, ScoreBody)
    first, second = _listed(body.text_1), _listed(body.text_2)
    if len(first) not in (1, len(second)):
        raise InvalidRequest("text_1", len(first), f"one text, or as many as text_2 has ({len(second)})")
    texts, scores = await _nearness(http, body, first, second, "/v1/score")
    data = [{"index": i, "object": "score", "score": each} for i, each in enumerate(scores)]
    name = serving_of(http).name_for(body.model)
    return Json({"id": f"score-{uuid.uuid4().hex}", "object": "list", "model": name, "data": data, "usage": _usage(texts)})


@router.post("/v1/rerank", openapi_extra=json_body(RerankBody))
@router.post("/rerank", openapi_extra=json_body(RerankBody))
async def rerank(http: Request) -> Response:
    """Returns documents by the cosine of their embeddings with the query's, or by a cross-encoder's score, the nearest first."""
    body = await read_body(http, RerankBody)
    if body.top_n is not None and body.top_n < 1:
        raise InvalidRequest("top_n", body.top_n, "a whole number above 0")
    texts, scores = await _nearness(http, body, [body.query], body.documents, "/rerank")
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[: body.top_n]
    shown: list[dict[str, Any]] = [{"index": i, "relevance_score": scores[i]} for i in order]
    if body.return_documents:
        shown = [each | {"document": {"text": body.documents[each["index"]]}} for each in shown]
    name = serving_of(http).name_for(body.model)
    return Json({"id": f"rerank-{uuid.uuid4().hex}", "model": name, "usage": _usage(texts), "results": shown})


async def vectors_of(
    http: Request, prompts: Sequence[Prompt | Pair], *, cuts: bool = False, counted: bool = True
) -> tuple[list[EncodeRequest], list[Vector]]:  # fmt: skip
    """Returns the prompts as token ids, and their vectors. With `cuts` a prompt beyond the context is cut.

    Those that are not `counted` are left out of the metrics.
    """
    if not prompts:
        raise InvalidRequest("input", [], "at least one text")
    serving, started = serving_of(http), time.time_ns()
    texts = await asyncio.to_thread(serving.encoding.texts_of, prompts, cuts=cuts)
    if not counted:
        serving.leave_out(text.rid for text in texts)
    vectors = await until_left(serving.encoding.vectors(texts), http)
    if serving.traces is not None:
        serving.traces.encoded(texts, started)
    return texts, vectors


async def _nearness(
    http: Request, body: TextsBody, first: list[str], second: Sequence[str], route: str
) -> tuple[list[EncodeRequest], list[float]]:
    """Returns a number for each pair: the score that a cross-encoder's head gives, else the cosine of two embeddings."""
    info = serving_of(http).handle.info
    if info.attention_backend == "encoder" and info.num_labels == 1:
        pairs = [Pair(a, b) for a, b in zip(first * len(second) if len(first) == 1 else first, second, strict=True)]
        texts, scores = await vectors_of(http, pairs, counted=body.log_metrics is not False)
        return texts, [float(each[0]) for each in scores]
    need_head(http, False, route)
    prompts = [*first, *second] if second else []
    texts, vectors = await vectors_of(http, prompts, counted=body.log_metrics is not False)
    a, b = (np.stack(part) for part in (vectors[: len(first)], vectors[len(first) :]))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return texts, [float(each) for each in (a * b).sum(1) / np.maximum(norms, 1e-12)]


def need_head(http: Request, with_head: bool, route: str) -> None:
    """Raises NotSupported where the model has no classification head and needs one, or has one and must not."""
    info, args = serving_of(http).handle.info, serving_of(http).args
    if args.is_embedding and with_head and not info.num_labels:
        raise NotSupported(f"{route} needs a classification head, {info.architecture} has none", hint="use /encode")
    if args.is_embedding and not with_head and info.num_labels:
        raise NotSupported(f"{route} needs embeddings, {info.architecture} gives scores of a head", hint="use /classify")


def _openai_prompts(body: EmbeddingsBody) -> list[Prompt]:
    if body.input is None or body.input_ids is not None:
        return read_prompts(body.input, body.input_ids)[1]
    first = body.input if isinstance(body.input, str) else next(iter(body.input), "")
    is_text = isinstance(first, str)
    return read_prompts(body.input, None)[1] if is_text else read_prompts(None, body.input)[1]


def shortened(vector: Vector, dimensions: int) -> Vector:
    """Returns the first numbers of a vector, with length 1. Raises InvalidRequest for more than there are."""
    if not 1 <= dimensions <= len(vector):
        raise InvalidRequest("dimensions", dimensions, f"from 1 to {len(vector)}, the length of the model's vectors")
    part = vector[:dimensions]
    return part / max(float(np.linalg.norm(part)), 1e-12)


def _base64(vector: Vector) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _usage(texts: Sequence[EncodeRequest]) -> dict[str, int]:
    num_tokens = sum(len(text.input_ids) for text in texts)
    return {"prompt_tokens": num_tokens, "total_tokens": num_tokens}


def _listed(text: str | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else text
