"""`Supervisor`: opens the engine's process, watches it, and opens another one when it died."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import TimeoutError as Unanswered
from contextlib import suppress
from typing import TYPE_CHECKING

from workbench.config import ServerArgs
from workbench.errors import EngineDead, WorkbenchError, in_one_line
from workbench.process.client import ProcessClient, open_process
from workbench.server.traces import open_traces

if TYPE_CHECKING:  # imported while the engine opens
    from workbench.api.handle import Handle

logger = logging.getLogger("workbench.server")
WINDOW_S = 600.0
"""Seconds over which restarts are counted."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
LONGEST_TICK_S = 1.0


class Supervisor:
    """One engine in a child process, for as long as the server runs."""

    def __init__(self, args: ServerArgs) -> None:
        """Opens the engine. Raises what `Engine` raises."""
        self._args = args
        self._restarts: deque[float] = deque()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._traces = open_traces(args)
        handle = self._open(args)
        from workbench.server.serving import Serving

        self.serving = Serving(handle, self._traces)
        threading.Thread(target=self._watch, name="workbench-watchdog", daemon=True).start()

    def close(self) -> None:
        """Ends the engine for good. Open requests end with EngineDead."""
        self._closing.set()
        with self._lock:
            handle = self.serving.handle
        handle.close()  # without the lock: it waits for the thread that may be opening another engine
        traces, self._traces = self._traces, None
        if traces is not None:
            traces.close()

    def _open(self, args: ServerArgs) -> Handle:
        opened = open_process(args, on_end=self._restart)
        from workbench.api.handle import Handle

        handle = Handle(opened, args)
        if handle.sees and handle.has_tokenizer:
            # Else the first request with a picture waits for seconds of imports. Where they fail, that request is refused.
            with suppress(WorkbenchError):
                _ = handle.eyes.sight.processor.made
        return handle

    # -- on the thread that received from the dead process --------------------------------------------------------

    def _restart(self, reason: str) -> None:
        logger.error("the engine ended: %s", reason)
        while not self._closing.is_set():
            now = time.monotonic()
            while self._restarts and now - self._restarts[0] > WINDOW_S:
                self._restarts.popleft()
            if len(self._restarts) >= self._args.max_restarts:
                logger.error("the engine is not started again: %d restarts in %g s", len(self._restarts), WINDOW_S)
                return
            pause_s = min(FIRST_PAUSE_S * 4 ** len(self._restarts), LONGEST_PAUSE_S)
            self._restarts.append(now)
            if self._closing.wait(pause_s) or self._replace():
                return

    def _replace(self) -> bool:
        """Opens another engine in the place of the dead one; returns False if it could not."""
        try:
            handle = self._open(self.serving.args)  # which name the weights that were loaded last
        except Exception as error:  # no memory for a process, for instance: a later attempt may find some
            logger.error("the engine could not be started again: %s", in_one_line(error))
            return False
        with self._lock:
            is_wanted = not self._closing.is_set()
            if is_wanted:
                self.serving.replace(handle)
        if is_wanted:
            logger.error("the engine was started again, as process %d", _process(handle).pid)
        else:
            handle.close()
        return True

    # -- on the thread of the watchdog ----------------------------------------------------------------------------

    def _watch(self) -> None:
        """Ends an engine whose step takes longer than `watchdog_timeout`."""
        limit_s = self._args.watchdog_timeout
        while not self._closing.wait(min(limit_s / 4, LONGEST_TICK_S)):
            client = _process(self.serving.handle) if self.serving.handle.is_open else None
            if client is None or client.ended:
                continue
            try:
                client.probe().result(limit_s)
            except Unanswered:
                client.kill(f"a step took longer than {limit_s:g} s (--watchdog-timeout)")
            except EngineDead:
                continue


def _process(handle: Handle) -> ProcessClient:
    assert isinstance(handle.client, ProcessClient)
    return handle.client
