"""`BatchRunner`: answers the lines of batches in the background, through the routes that clients use."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
PRIORITY = -1
"""Highest priority of a line: below requests that a client waits for."""
AGAIN = (429, 503)
AGAIN_S = 0.5
"""Seconds until a line that the engine could not take is sent again."""
WINDOW_S = 24 * 3600
FULL = (OSError, sqlite3.OperationalError)


class BatchRunner:
    """Works on one batch after the other, the oldest first. The store opens when it is first needed."""

    def __init__(self, serving: Serving, app: ASGIApp) -> None:
        self._serving = serving
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://batch", timeout=None)
        self._folder = Path(serving.args.file_storage_pth)
        self._store: Store | None = None
        self._wake = asyncio.Event()

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
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                store = self.store
            except Problem as problem:
                logger.warning("batches are not worked on: %s", problem.message)
                continue
            for batch_id in store.unfinished():
                try:
                    await self._run(batch_id)
                except Exception as error:
                    logger.exception("batch %s failed", batch_id)
                    message = f"the results could not be stored: {error}" if isinstance(error, FULL) else "the server failed"
                    self._fail(batch_id, [{"code": "server_error", "message": message}])

    async def _run(self, batch_id: str) -> None:
        store = self.store
        batch = store.batch(batch_id) or {}
        path = store.path_of(batch["input_file_id"])
        if not path.is_file():
            self._fail(batch_id, [{"code": "missing_file", "message": "the input file was deleted", "param": "input_file_id"}])
            return
        lines, errors = await asyncio.to_thread(read_lines, path, batch["endpoint"])
        if errors:
            self._fail(batch_id, errors)
            return
        store.set_status(batch_id, "in_progress", unless=("cancelling", *ENDED), total=len(lines))
        done = store.answered(batch_id)
        waiting = iter([(i, line) for i, line in enumerate(lines) if i not in done])
        await asyncio.gather(*[self._answer_some(batch_id, batch, waiting) for _ in range(NUM_OPEN)])
        await asyncio.to_thread(self._finish, batch_id)

    async def _answer_some(self, batch_id: str, batch: dict[str, Any], waiting: Any) -> None:
        for i, line in waiting:
            while not self._is_over(batch_id, batch):
                status, text = await self._answer(line)
                if status not in AGAIN:
                    await asyncio.to_thread(self.store.add_answer, batch_id, i, status, text)
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

    def _finish(self, batch_id: str) -> None:
        """Writes the output files. A batch that was cancelled or is late keeps the answers that it has."""
        store = self.store
        batch = store.batch(batch_id) or {}
        status = "cancelled" if batch["status"] == "cancelling" else "expired" if _is_late(batch) else "completed"
        completed, failed = store.counts(batch_id)
        store.set_status(batch_id, "finalizing", unless=("cancelling",))
        fields: dict[str, Any] = {"completed": completed, "failed": failed}
        for name, kind, count in (("output_file_id", False, completed), ("error_file_id", True, failed)):
            if count:
                fields[name] = store.add_file(f"{batch_id}_{name[:-8]}.jsonl", "batch_output", store.answers(batch_id, kind))[
                    "id"
                ]
        store.set_status(batch_id, status, **fields)
        store.forget_answers(batch_id)

    def _fail(self, batch_id: str, errors: list[dict[str, Any]]) -> None:
        try:
            self.store.set_status(batch_id, "failed", errors={"object": "list", "data": errors[:1000]})
        except FULL:
            logger.exception("the failure of batch %s could not be stored", batch_id)


def _is_late(batch: dict[str, Any]) -> bool:
    return time.time() > int(batch["created_at"]) + WINDOW_S
