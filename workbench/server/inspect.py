"""Routes for attached readers: what the engine is, its events as they come, and questions. `workbench.attach` reads them."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from workbench.api.handle import Handle
from workbench.api.remote import CHANGES, LENGTH_BYTES, MESSAGES, MOST_EVENTS, QUESTIONS
from workbench.client.answers import News
from workbench.errors import InvalidRequest
from workbench.events import EventLog
from workbench.server.body import answers, read_json
from workbench.server.problem import Problem
from workbench.server.serving import Serving, serving_of
from workbench.server.sse import EventStream
from workbench.server.status import settings_of
from workbench.server.wire import Json
from workbench.wire_error import encode

router = APIRouter()
PERIOD_S = 0.1
"""Seconds between two readings of the log."""
SILENCE_S = 5.0
"""Longest time without a message."""
MOST_BEHIND = 20_000
"""Events that a reader may be behind, beside the history that it wanted; a slower one begins again from the present state."""
MOST_READERS = 32
MSGPACK = "application/msgpack"
HEADERS = {"content-type": MSGPACK, "cache-control": "no-cache", "x-accel-buffering": "no"}


@router.get("/engine/info")
async def info(http: Request) -> Response:
    """Returns the settings and facts of the engine that never change."""
    serving = serving_of(http)
    handle = serving.handle
    facts = {"args": settings_of(serving), "info": msgspec.structs.asdict(handle.info)}
    return Json(facts | {"epoch": handle.epoch, "has_tokenizer": handle.has_tokenizer})


@router.get("/engine/tokenizer", openapi_extra=answers(MSGPACK))
async def tokenizer(http: Request) -> Response:
    """Returns the files of the tokenizer, {name: content}."""
    return Response(encode(await asyncio.to_thread(_files, serving_of(http).handle)), media_type=MSGPACK)


def _files(handle: Handle) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        handle.hf_tokenizer.save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return files | {"config.json": json.dumps({"eos_token_id": sorted(handle.tokenizer.eos_token_ids)}).encode()}


@router.get("/engine/events", openapi_extra=answers(MSGPACK))
async def events(http: Request, history: int = MOST_BEHIND) -> Response:
    """Streams the event log: each message is its length in 4 bytes, the most significant first, and a `News` in msgpack.

    Begins with the last `history` events.
    """
    serving = serving_of(http)
    if serving.num_readers >= MOST_READERS:
        raise Problem(429, f"{MOST_READERS} readers follow the events already", code="too_many_readers")
    return EventStream(follow(serving, history), lambda problem: frame(News([], ended=problem.message)), HEADERS)


def frame(news: News) -> bytes:
    body = encode(news)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


async def follow(serving: Serving, history: int) -> AsyncIterator[bytes]:
    """Yields messages with the events as they come, of each engine that is served after the other."""
    serving.num_readers += 1
    loop = asyncio.get_running_loop()
    log, silent_since, was_ended = serving.handle.log, float("-inf"), ""
    number = max(log.num_added - max(history, 0), 0)
    num_lost = number
    try:
        while not serving.is_ending:
            if (current := serving.handle.log) is not log:  # an engine that took the place of one that died
                log, number, num_lost = current, 0, num_lost + 1
            news = _news(log, number, num_lost, max(history, 0) + MOST_BEHIND)
            ended = serving.handle.client.ended
            if news is not None:
                number, num_lost = news[0], 0
                yield frame(News(news[1], news[2], ended))
            elif ended != was_ended or loop.time() - silent_since > SILENCE_S:
                yield frame(News([], num_lost, ended))
                num_lost = 0
            else:
                await asyncio.sleep(PERIOD_S)
                continue
            silent_since, was_ended = loop.time(), ended
            await asyncio.sleep(0 if number < log.num_added else PERIOD_S)
    finally:
        serving.num_readers -= 1


def _news(log: EventLog, number: int, num_lost: int, limit: int) -> tuple[int, list[Any], int] | None:
    """Returns the number to go on from, the events from `number` on, and how many were lost before them."""
    if log.num_added == number:
        return None
    wanted = number if log.num_added - number <= limit else log.num_added
    first, found = log.read(wanted)
    found = found[:MOST_EVENTS]
    return first + len(found), found, num_lost + first - number


@router.post(
    "/engine/call/{name}",
    openapi_extra=answers(MSGPACK) | {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def call(http: Request, name: str) -> Response:
    """Answers one call of the engine between two steps. The body has its arguments by name."""
    if name not in QUESTIONS + CHANGES:
        raise Problem(404, f"there is no call {name!r}; there are {', '.join(QUESTIONS + CHANGES)}", code="not_found")
    body = await read_json(http)
    try:
        arguments = msgspec.structs.asdict(msgspec.convert(body, MESSAGES[name].arguments, strict=True))
    except msgspec.ValidationError as error:
        raise InvalidRequest.because("body", f"{name}: {error}", hint=f"send {', '.join(_fields(name)) or '{}'}") from None
    serving = serving_of(http)
    if name == "token_detail":  # other views of the server may need it too
        await asyncio.to_thread(serving.questions.detail.set, "attached", arguments["on"])
        return Response(encode(None), media_type=MSGPACK)
    result = await asyncio.to_thread(getattr(serving.handle.client.engine, name), **arguments)
    return Response(encode(result), media_type=MSGPACK)


def _fields(name: str) -> tuple[str, ...]:
    return MESSAGES[name].arguments.__struct_fields__
