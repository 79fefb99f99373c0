"""`DrainingServer`: uvicorn's server, which finishes what runs before it ends."""

from __future__ import annotations

import asyncio
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import uvicorn

from workbench.server.app import make_app
from workbench.server.serving import Serving
from workbench.server.supervisor import Supervisor

NUM_THREADS = 64
"""Threads of the event loop for work that blocks: tokenising, and waiting for the engine's answer."""
TICK_S = 0.02
LAST_ANSWERS_S = 2.0
"""Seconds in which the answers of requests that were cut off reach their clients."""
logger = logging.getLogger("workbench.server")


class DrainingServer(uvicorn.Server):
    """A server that finishes running requests at the first signal to end, and ends at once at the second."""

    def __init__(self, config: uvicorn.Config, serving: Serving, supervisor: Supervisor | None = None) -> None:
        super().__init__(config)
        self._serving = serving
        self._supervisor = supervisor
        self._loop = asyncio.get_running_loop()
        self._drain: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to drain; a second signal ends the server at once."""
        if self._serving.is_draining:
            self.should_exit = self.force_exit = True
            return
        logger.info("signal %s: %d requests finish", signal.Signals(sig).name, self._serving.num_open)
        self.drain()

    def drain(self) -> None:
        """Refuses new requests, and ends when the running ones have finished. Any thread may call it."""
        self._serving.is_draining = True
        self._loop.call_soon_threadsafe(self._start_drain)

    def _start_drain(self) -> None:
        self._drain = self._loop.create_task(self._finish())

    async def _finish(self) -> None:
        if not await self._idle_within(self._serving.args.drain_timeout_s) and self._supervisor is not None:
            await asyncio.to_thread(self._supervisor.close)
            await self._idle_within(LAST_ANSWERS_S)
        self.should_exit = True

    async def _idle_within(self, timeout_s: float) -> bool:
        """Waits until no request is open; returns False if that takes longer."""
        deadline = self._loop.time() + timeout_s
        while self._serving.num_open and self._loop.time() < deadline:
            await asyncio.sleep(TICK_S)
        return not self._serving.num_open


def configuration(serving: Serving) -> uvicorn.Config:
    """Returns uvicorn's settings for an engine. Called in the event loop, whose threads it sets."""
    args = serving.args
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(NUM_THREADS, "workbench-http"))
    level = args.log_level_http or args.log_level
    return uvicorn.Config(
        make_app(serving), log_level=level, access_log=level in ("info", "debug"), timeout_graceful_shutdown=1,
        server_header=False,
    )  # fmt: skip
