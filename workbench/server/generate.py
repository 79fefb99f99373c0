"""`/generate`, the native route."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from workbench.native.requests import KINDS, LATER, MEDIA, SAMPLING, GenerateRequest
from workbench.native.results import Completion
from workbench.server import shapes
from workbench.server.body import Body, json_body, read_json
from workbench.server.problem import naming_prompt
from workbench.server.serving import Serving, serving_of
from workbench.server.sse import DONE, EventStream, data
from workbench.server.wire import Json

router = APIRouter()
READ = frozenset({"text", "input_ids", "input_embeds", "sampling_params", "stream", *KINDS, *MEDIA, *SAMPLING, *LATER})
"""Fields that are read. Others are ignored: routers and load generators add their own."""
PROMPTS = ("text", "input_ids", "input_embeds")
"""Fields of which a request has one."""
Each = list[Any]


class GenerateBody(Body):
    """The body of `/generate`. With several prompts an option such as `priority` may have a list with one value each."""

    ONE_OF = PROMPTS
    MORE = shapes.PARAMS["properties"]
    NEEDS = shapes.PARAMS["dependentSchemas"]
    ALSO = (
        "A sampling parameter may stand beside `sampling_params` and is then that of all prompts, but not in both places. "
        + shapes.ONE_CONSTRAINT
    )

    text: shapes.Texts = None
    """Prompt, or several. One of `text`, `input_ids` and `input_embeds` is given."""
    input_ids: shapes.Ids = None
    """Prompt, or several, as token ids."""
    sampling_params: shapes.Params = None
    """Sampling parameters by name, with at most one constraint; several prompts may have a list of them."""
    stream: bool | None = False
    """Switch to send the answer as it grows, in server-sent events."""
    rid: shapes.EachName = None
    return_logprob: shapes.EachSwitch = None
    logprob_start_len: shapes.EachStart = None
    """Position in the prompt: log-probabilities of the prompt begin behind it. 0: all, the first of them null. -1: none."""
    top_logprobs_num: shapes.EachCount = None
    token_ids_logprob: shapes.EachTokens = None
    return_text_in_logprobs: shapes.EachSwitch = None
    return_hidden_states: shapes.EachSwitch = None
    log_metrics: bool | None = True
    """Switch to count the request in the metrics."""
    priority: shapes.EachRank = None
    timeout_s: shapes.EachSeconds = None
    namespace: shapes.EachName = None
    custom_logit_processor: shapes.EachText = None
    session_params: shapes.EachSession = None
    input_embeds: shapes.Embeds = None
    """Embeddings in the place of a prompt: one row for each token."""
    image_data: shapes.Pictures = None
    """Pictures of the prompt: data URLs, base64 text, or places that the server allows. Of several prompts: a list for each."""
    modalities: shapes.EachModality = None
    """Kind of the pictures: image, multi-images (the same) or video."""
    lora_path: None = None
    """Not available: only null and empty values are accepted."""


@router.post("/generate", openapi_extra=json_body(GenerateBody))
async def generate(http: Request) -> Response:
    """Continues prompts. With `stream` the answer is server-sent events, each with the whole text so far."""
    serving = serving_of(http)
    body = await read_json(http)
    with naming_prompt("text" if body.get("input_ids") is None else "input_ids"):
        request = GenerateRequest.from_json(native_body(body))
        if body.get("log_metrics") is False:
            request = _unlogged(request, serving)
        if request.stream:
            return EventStream(_events(await serving.start_stream(request)))
        return Json(await serving.complete(request, http))


def native_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that the engine reads, without neutral values of those that it does not have.

    The reference's client scores options with two habits of its server. A request that only scores (`max_new_tokens` 0 with
    `return_logprob`) and names no position gets the log-probabilities of its whole prompt. A position above 0 is the last one
    left out; for the engine it is the first one returned.
    """
    made = {name: value for name, value in body.items() if name in READ and not (name in LATER and _is_neutral(value))}
    params = made.get("sampling_params")
    only_scores = isinstance(params, Mapping) and params.get("max_new_tokens", params.get("max_tokens")) == 0
    start = made.get("logprob_start_len")
    if start is None and only_scores and made.get("return_logprob"):
        start = 0
    made["logprob_start_len"] = list(map(_behind, start)) if isinstance(start, list) else _behind(start)
    return made


def _behind(start: Any) -> Any:
    return start + 1 if isinstance(start, int | float) and not isinstance(start, bool) and start > 0 else start


def _is_neutral(value: Any) -> bool:
    return value in (None, "", {}) or (isinstance(value, list) and all(map(_is_neutral, value)))


def _unlogged(request: GenerateRequest, serving: Serving) -> GenerateRequest:
    """Returns the request with an id for each prompt, which the metrics leave out."""
    prompts = []
    for each in request.prompts:
        rid = each.options.rid or uuid.uuid4().hex[:12]
        serving.leave_out([rid])
        prompts.append(replace(each, options=replace(each.options, rid=rid)))
    return replace(request, prompts=tuple(prompts))


async def _events(chunks: AsyncIterator[Completion]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield data(chunk)
    yield DONE
