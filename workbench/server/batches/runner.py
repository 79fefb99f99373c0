"""`BatchRunner`: answers the lines of batches in the background, through the routes that clients use."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
from filelock import Timeout
from starlette.types import ASGIApp

from workbench.server.batches.lines import Line, read_lines
from workbench.server.batches.store import ENDED, Store
from workbench.server.problem import Problem
from workbench.server.serving import Serving

logger = logging.getLogger("workbench.server")
NUM_OPEN = 32
"""Most lines that are open at once."""
NUM_BATCHES = 8
"""Most batches that are worked on at once. They share the open lines equally."""
PRIORITY = -1
"""Highest priority of a line: below requests that a client waits for."""
AGAIN = (429, 503)
AGAIN_S = 0.5
"""Seconds until a line that the engine could not take is sent again."""
FULL_S, MAX_FULL_S = 1.0, 60.0
"""Seconds until what found no room on the disk is stored again: twice as many each time, up to the second number."""
WINDOW_S = 24 * 3600
FULL = (OSError, sqlite3.OperationalError)
NOT_BEGUN = {
    "cancelled": ("batch_cancelled", "This request was not begun: the batch was cancelled."),
    "expired": ("batch_expired", "This request was not begun: the completion window of the batch expired."),
}
"""Code and message of lines without an answer, by the status of their batch."""


class BatchRunner:
    """Works on batches side by side, the oldest first. The store opens when it is first needed."""

    def __init__(self, serving: Serving, app: ASGIApp) -> None:
        self._serving = serving
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://batch", timeout=None)
        self._folder = Path(serving.args.file_storage_pth)
        self._store: Store | None = None
        self._wake = asyncio.Event()
        self._open = asyncio.Semaphore(NUM_OPEN)
        self._begun: set[str] = set()
        self._is_full = False
        """True while something waits for room on the disk."""

    @property
    def store(self) -> Store:
        if self._store is None:
            try:
                self._store = Store(self._folder)
            except Timeout:
                raise Problem(409, f"another server uses {self._folder}: give each its own --file-storage-pth") from None
        return self._store

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works while the context is open; what is unfinished goes on when a server opens the same folder again."""
        if (self._folder / "batches.sqlite3").is_file():
            self._wake.set()
        work = asyncio.create_task(self._work())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self._client.aclose()
            if self._store is not None:
                self._store.close()

    def wake(self) -> None:
        """Looks for batches that have not ended."""
        self._wake.set()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    store = self.store
                except Problem as problem:
                    logger.warning("batches are not worked on: %s", problem.message)
                    continue
                for batch_id in store.unfinished():
                    if batch_id not in self._begun and len(self._begun) < NUM_BATCHES:
                        self._begun.add(batch_id)
                        tasks.create_task(self._keep(batch_id))

    async def _keep(self, batch_id: str) -> None:
        """Works on a batch to its end, whatever fails."""
        try:
            await self._run(batch_id)
        except Exception:
            logger.exception("batch %s failed", batch_id)
            await self._fail(batch_id, [{"code": "server_error", "message": "the server failed"}])
        self._begun.discard(batch_id)
        self.wake()

    async def _when_room(self, store: Callable[..., Any], *args: Any) -> None:
        """Stores something, again and again while the disk is full. It may have stored a part: the same again must do no harm."""
        pause_s = FULL_S
        while True:
            try:
                await asyncio.to_thread(store, *args)
                break
            except FULL as error:
                if not self._is_full:
                    logger.error("batches wait until their answers can be stored: %s", error)
                self._is_full = True
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_FULL_S)
        if self._is_full:
            logger.warning("batches go on: their answers can be stored again")
        self._is_full = False

    async def _run(self, batch_id: str) -> None:
        store = self.store
        batch = store.batch(batch_id) or {}
        path = store.path_of(batch["input_file_id"])
        if not path.is_file():
            gone = {"code": "missing_file", "message": "the input file was deleted", "param": "input_file_id"}
            await self._fail(batch_id, [gone])
            return
        lines, errors = await asyncio.to_thread(read_lines, path, batch["endpoint"])
        if errors:
            await self._fail(batch_id, errors)
            return
        await self._when_room(self._begin, batch_id, len(lines))
        done = store.answered(batch_id)
        waiting = iter([(i, line) for i, line in enumerate(lines) if i not in done])
        async with asyncio.TaskGroup() as tasks:
            for _ in range(NUM_OPEN):
                tasks.create_task(self._answer_some(batch_id, batch, waiting))
        await self._when_room(self._finish, batch_id, lines)

    async def _answer_some(self, batch_id: str, batch: dict[str, Any], waiting: Iterator[tuple[int, Line]]) -> None:
        for i, line in waiting:
            while not self._is_over(batch_id, batch):
                async with self._open:  # first come, first served: batches take turns
                    status, text = await self._answer(line)
                if status not in AGAIN:
                    await self._when_room(self.store.add_answer, batch_id, i, status, text)
                    break
                await asyncio.sleep(AGAIN_S)

    def _is_over(self, batch_id: str, batch: dict[str, Any]) -> bool:
        """Returns whether no further line of a batch is begun."""
        return (self.store.batch(batch_id) or {})["status"] == "cancelling" or _is_late(batch)

    async def _answer(self, line: Line) -> tuple[int, str]:
        given = line.body.get("priority")
        priority = min(given, PRIORITY) if isinstance(given, int) else PRIORITY
        answer = await self._client.post(line.url, json=line.body | {"priority": priority})
        request_id = f"batch_req_{uuid.uuid4().hex}"
        response = {"status_code": answer.status_code, "request_id": request_id, "body": answer.json()}
        made = {"id": request_id, "custom_id": line.custom_id, "response": response, "error": None}
        return answer.status_code, json.dumps(made, ensure_ascii=False)

    def _begin(self, batch_id: str, num_lines: int) -> None:
        self.store.set_status(batch_id, "in_progress", unless=("cancelling", *ENDED), total=num_lines)

    def _finish(self, batch_id: str, lines: Sequence[Line]) -> None:
        """Ends a batch whose lines are answered, or that was cancelled or is late."""
        store = self.store
        batch = store.batch(batch_id) or {}
        status = "cancelled" if batch["status"] == "cancelling" else "expired" if _is_late(batch) else "completed"
        store.set_status(batch_id, "finalizing", unless=("cancelling",))
        done = store.answered(batch_id)
        if len(done) == len(lines) and status == "expired":
            status = "completed"
        self._publish(batch_id, status, (_not_begun(line, status) for i, line in enumerate(lines) if i not in done))

    def _publish(self, batch_id: str, status: str, rest: Iterable[bytes] = (), **fields: Any) -> None:
        """Ends a batch: makes files of its answers, with the lines of `rest` as errors. Done twice, it makes the same files."""
        store = self.store
        fields["completed"], fields["failed"] = store.counts(batch_id)
        kinds = {"output_file_id": store.answers(batch_id, False), "error_file_id": chain(store.answers(batch_id, True), rest)}
        for name, chunks in kinds.items():
            if (first := next(chunks, None)) is not None:
                key = f"{batch_id}_{name.removesuffix('_file_id')}"
                fields[name] = store.add_file(f"{key}.jsonl", "batch_output", chain([first], chunks), key=key)["id"]
        store.end(batch_id, status, **fields)

    async def _fail(self, batch_id: str, errors: list[dict[str, Any]]) -> None:
        """Ends a batch with errors, and with files of the answers that it has."""
        shown = {"object": "list", "data": errors[:1000]}
        await self._when_room(partial(self._publish, batch_id, "failed", errors=shown))


def _not_begun(line: Line, status: str) -> bytes:
    """Returns the line of the error file of a request that was not begun."""
    code, message = NOT_BEGUN[status]
    made = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": line.custom_id, "response": None}
    return json.dumps(made | {"error": {"code": code, "message": message}}, ensure_ascii=False).encode() + b"\n"


def _is_late(batch: dict[str, Any]) -> bool:
    return time.time() > int(batch["created_at"]) + WINDOW_S
