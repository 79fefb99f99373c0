"""Routes of the tokenizer and of the parsers of calls; they need no engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import WithJsonSchema
from starlette.responses import Response

from workbench.errors import InvalidRequest
from workbench.lang.tools import function_of
from workbench.native.prompts import token_ids
from workbench.server.body import Body, json_body, read_body
from workbench.server.chat.call import ChatCall
from workbench.server.chat.start import prompt_ids
from workbench.server.schema import many, one_of, record
from workbench.server.serving import Serving, serving_of
from workbench.server.shapes import FUNCTION, MESSAGES, TOKEN, AnyTextsOrNone, ToolFormat
from workbench.server.wire import Json
from workbench.tool_calls import parse

router = APIRouter()


class TokenizeBody(Body):
    """The body of `/tokenize`: a text, or a conversation."""

    ONE_OF = ("prompt", "text", "messages")

    model: str | None = None
    """Name of a model; whatever it is, the served one answers."""
    prompt: AnyTextsOrNone = None
    """Text, or several. Either it or `messages` is given."""
    text: AnyTextsOrNone = None
    """Second name of `prompt`."""
    messages: Annotated[list[dict[str, Any]] | None, WithJsonSchema(MESSAGES)] = None
    """Conversation, written as the chat template does."""
    add_special_tokens: bool | None = True
    """Switch to add the tokens that the tokenizer puts around a text, such as the model's beginning of text."""
    add_generation_prompt: bool | None = True
    """Switch to end a conversation with the beginning of an answer."""
    return_token_strs: bool | None = False
    """Switch to add the text of each token; for one text alone."""


class DetokenizeBody(Body):
    """The body of `/detokenize`."""

    model: str | None = None
    """Name of a model; whatever it is, the served one answers."""
    tokens: Annotated[list[int] | list[list[int]], WithJsonSchema(one_of(many(TOKEN, 0), many(many(TOKEN, 0))))]
    """Token ids, or several lists of them."""
    skip_special_tokens: bool | None = False


class FunctionCallBody(Body):
    """The body of `/function_call`."""

    text: str
    """Text that a model generated."""
    tools: Annotated[
        list[dict[str, Any]], WithJsonSchema(many(record({"type": {"const": "function"}, "function": FUNCTION}), 0))
    ] = []
    """Tools that may be called; calls of others stay in the text. Empty: all calls are read."""
    tool_call_parser: ToolFormat = None
    """Name of the parser. None: the server's (`--tool-call-parser`)."""


@router.post("/tokenize", openapi_extra=json_body(TokenizeBody))
@router.post("/v1/tokenize", openapi_extra=json_body(TokenizeBody))
async def tokenize(http: Request) -> Response:
    """Returns the token ids of a text, of several texts, or of a conversation in the chat template."""
    body, serving = await read_body(http, TokenizeBody), serving_of(http)
    tokenizer, info = serving.handle.tokenizer, serving.handle.info
    text = body.prompt if body.prompt is not None else body.text
    if (text is None) == (body.messages is None):
        raise InvalidRequest.because("prompt", "give either prompt or messages", hint="both are None, or both are given")
    if body.messages is not None:
        call = ChatCall(messages=body.messages, add_generation_prompt=body.add_generation_prompt is not False)
        ids: Any = list(await asyncio.to_thread(prompt_ids, serving, call))
    else:
        special, texts = body.add_special_tokens is not False, text if isinstance(text, list) else [text or ""]
        many = [list(await asyncio.to_thread(tokenizer.encode, each, add_special_tokens=special)) for each in texts]
        ids = many if isinstance(text, list) else many[0]
    count = [len(each) for each in ids] if ids and isinstance(ids[0], list) else len(ids)
    answer = {"tokens": ids, "count": count, "max_model_len": info.context_length}
    if body.return_token_strs and not isinstance(count, list):
        answer["token_strs"] = await asyncio.to_thread(lambda: [tokenizer.token_text(token) for token in ids])
    return Json(answer)


@router.post("/detokenize", openapi_extra=json_body(DetokenizeBody))
@router.post("/v1/detokenize", openapi_extra=json_body(DetokenizeBody))
async def detokenize(http: Request) -> Response:
    """Returns the text of token ids, or the texts of lists of them."""
    body, serving = await read_body(http, DetokenizeBody), serving_of(http)
    nested = bool(body.tokens) and isinstance(body.tokens[0], list)
    rows: list[Any] = body.tokens if nested else [body.tokens]
    texts = await asyncio.to_thread(_decoded, serving, rows, skips=bool(body.skip_special_tokens))
    return Json({"text": texts if nested else texts[0], "prompt": texts if nested else texts[0]})


@router.get("/tokenizer_info")
async def tokenizer_info(http: Request) -> Response:
    """Returns the chat template and the special tokens, for clients that render conversations themselves."""
    serving = serving_of(http)
    facts = serving.tokenizer_facts() or {}
    return Json({**facts, "eos_token": facts.get("eos_token"), "model_max_length": serving.handle.info.context_length})


@router.post("/function_call", openapi_extra=json_body(FunctionCallBody))
@router.post("/parse_function_call", openapi_extra=json_body(FunctionCallBody))
async def function_call(http: Request) -> Response:
    """Returns the calls in a generated text, and the text around them."""
    body, serving = await read_body(http, FunctionCallBody), serving_of(http)
    name = body.tool_call_parser or serving.args.tool_call_parser
    if name is None:
        raise InvalidRequest.because("tool_call_parser", "no parser is named", hint="name one, or serve with --tool-call-parser")
    tools = [_name_of(tool, i) for i, tool in enumerate(body.tools)]
    text, calls = await asyncio.to_thread(parse, name, body.text, tools or None)
    found = [{"tool_index": tools.index(call.name) if call.name in tools else -1, "name": call.name, "parameters": call.arguments}
             for call in calls]  # fmt: skip
    return Json({"normal_text": text, "calls": found})


def _name_of(tool: dict[str, Any], i: int) -> str:
    name = function_of(tool).get("name")
    if not isinstance(name, str):
        raise InvalidRequest(f"tools[{i}]", tool, 'a tool like {"type": "function", "function": {"name": "f"}}')
    return name


def _decoded(serving: Serving, rows: Sequence[Sequence[object]], *, skips: bool) -> list[str]:
    """Returns the texts of lists of token ids, without special tokens if `skips`. Raises InvalidRequest for ids that are none."""
    handle = serving.handle
    checked = [_in_vocabulary(token_ids("tokens", row), handle.info.vocab_size) for row in rows]
    return [handle.tokenizer.decode(ids, skip_special_tokens=skips) for ids in checked]


def _in_vocabulary(ids: tuple[int, ...], size: int) -> tuple[int, ...]:
    for token in ids:
        if not 0 <= token < size:
            raise InvalidRequest("tokens", token, f"between 0 and {size - 1} (the vocabulary)")
    return ids
