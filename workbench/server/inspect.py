"""Routes for attached readers: what the engine is, its events as they come, and questions. `workbench.attach` reads them."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi import Path as Name
from starlette.responses import Response

from workbench.api.handle import Handle
from workbench.api.remote import CHANGES, LENGTH_BYTES, MESSAGES, MOST_EVENTS, QUESTIONS
from workbench.client.answers import News
from workbench.errors import InvalidRequest
from workbench.events import Event, EventLog
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
CallName = Annotated[str, Name(description="Name of the call.", json_schema_extra={"enum": [*QUESTIONS, *CHANGES]})]
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
async def events(
    http: Request, history: Annotated[int, Query(description="Most events from before the call.")] = MOST_BEHIND
) -> Response:
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
    num_lost = max(log.num_added - max(history, 0), 0)
    tail = Tail(log, num_lost)
    try:
        while not serving.is_ending:
            if (log := serving.handle.log) is not tail.log:  # an engine that took the place of one that died
                tail, num_lost = Tail(log), num_lost + 1
            events, num_skipped = tail.take(max(history, 0) + MOST_BEHIND)
            num_lost += num_skipped
            ended = serving.handle.client.ended
            if events or num_skipped:
                yield frame(News(events, num_lost, ended))
                num_lost = 0
            elif ended != was_ended or loop.time() - silent_since > SILENCE_S:
                yield frame(News([], num_lost, ended))
                num_lost = 0
            else:
                await asyncio.sleep(PERIOD_S)
                continue
            silent_since, was_ended = loop.time(), ended
            await asyncio.sleep(0 if tail.number < log.num_added else PERIOD_S)
    finally:
        serving.num_readers -= 1


class Tail:
    """The events that one reader of a log has not got. Each is read from the log once."""

    def __init__(self, log: EventLog, number: int = 0) -> None:
        self.log = log
        self.number = number
        """The number of the next event."""
        self._read: Iterator[Event] = iter(())
        """Events that are read and not taken."""

    def take(self, most_behind: int) -> tuple[list[Any], int]:
        """Changes: returns the next events, and how many before them are skipped: all, for a reader that is too far behind."""
        if self.log.num_added - self.number > most_behind:
            num_skipped = self.log.num_added - self.number
            self.number, self._read = self.number + num_skipped, iter(())
            return [], num_skipped
        num_skipped = 0
        found = list(islice(self._read, MOST_EVENTS))
        if not found:
            first, events = self.log.read(self.number)
            num_skipped, self._read = first - self.number, iter(events)
            found = list(islice(self._read, MOST_EVENTS))
        self.number += num_skipped + len(found)
        return found, num_skipped


@router.post(
    "/engine/call/{name}",
    openapi_extra=answers(MSGPACK) | {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def call(http: Request, name: CallName) -> Response:
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
