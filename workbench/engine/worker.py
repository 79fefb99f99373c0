"""The engine's thread and its loop: an inbox in, a callback out.

Behind the inbox everything is single-threaded. While it steps, the interpreter's switch interval is lowered, so that
it does not starve beside a busy cell.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from workbench.client.waiters import Waiters, answer
from workbench.engine.core import EngineCore
from workbench.engine.overlap import Overlap
from workbench.errors import SHUT_DOWN
from workbench.switch_interval import QUICK_S, switching
from workbench.types import TokenOut

logger = logging.getLogger("workbench.engine")
LONGEST_WAIT_S = 3600.0
"""The longest single wait: operating systems refuse very long ones."""
Made = TypeVar("Made")


class EngineThread:
    """The one thread that touches torch: the model is loaded on it and the loop runs on it.

    Each thread that computes brings a team of OpenMP workers with it, and with more of those than cores every parallel
    region of a CPU takes twice as long (measured: a forward pass of one token 18 ms instead of 10 ms on two cores).
    """

    def __init__(self) -> None:
        self._actions: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="workbench-engine", daemon=True)
        self._thread.start()

    def start(self, make: Callable[[], Made]) -> Future[Made]:
        """Calls `make` on the thread. The future holds its result or its error."""
        future: Future[Made] = Future()
        self._actions.put(partial(answer, future, make))
        return future

    def end_with(self, action: Callable[[], None]) -> None:
        """Runs `action` as the last thing the thread does. Returns at once."""
        self._actions.put(action)
        self._actions.put(None)

    def join(self) -> None:
        """Ends the thread. Returns when it is gone."""
        self._actions.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (action := self._actions.get()) is not None:
            action()
            del action  # it holds the engine, whose memory should go when its owner lets go


def _nothing(*_: object) -> None:
    """Stands in the place of what is called no more."""


class Worker:
    """Runs a core on a thread, and gives the outputs of each step to `deliver`.

    When its loop ends, in whatever way, it ends all `waiters` and then calls `at_end`.
    """

    def __init__(
        self,
        core: EngineCore,
        waiters: Waiters,
        thread: EngineThread,
        deliver: Callable[[list[TokenOut]], None],
        at_end: Callable[[], None],
        *,
        overlaps: bool,
    ) -> None:
        """Starts the loop. With `overlaps`, a step is committed and the next but one planned while the next one is computed."""
        self.core = core
        self._waiters = waiters
        self._deliver = deliver
        self._at_end = at_end
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closing = False
        self._thread = thread
        self._overlaps = overlaps
        self._overlap: Overlap | None = None
        thread.end_with(self._run)

    def send(self, action: Callable[[], None]) -> None:
        """Runs `action` on the engine's thread, between two steps. Returns at once."""
        self._inbox.put(action)

    def ask(self, make: Callable[[], Any]) -> Future[Any]:
        """Calls `make` on the engine's thread, between two steps. The future holds its result or its error.

        Raises `EngineDead`.
        """
        future = self._waiters.call()
        self.send(partial(answer, future, make))
        return future

    def close(self) -> None:
        """Ends the loop after the present step. Returns when the thread is gone."""
        self._inbox.put(None)
        self._thread.join()
        self._deliver, self._at_end, self._overlap = _nothing, _nothing, None  # nothing leads back to its owner

    def _run(self) -> None:
        if self._overlaps:  # not before: a load that was given up ends without this loop, and starts no thread
            self._overlap = Overlap(self.core, self._deliver, self._is_wanted)
        try:
            while not self._closing:
                with suppress(queue.Empty):  # nothing came, and a request that waits for its constraint is out of time
                    self._take(self._inbox.get(timeout=self._patience()))
                with switching(QUICK_S):
                    while self.core.has_work and not self._closing:
                        self._advance()
                        while not self._inbox.empty():
                            self._take(self._inbox.get())
            self._end(SHUT_DOWN)
        except BaseException as error:
            logger.exception("the engine's loop broke")
            self._end(f"the engine's loop broke: {type(error).__name__}: {error}")

    def _advance(self) -> None:
        if self._overlap is None:
            self._deliver(self.core.step())
        else:
            self._overlap.advance()

    def _is_wanted(self) -> bool:
        return not self._inbox.empty()

    def _patience(self) -> float | None:
        return None if self.core.idle_s is None else min(self.core.idle_s, LONGEST_WAIT_S)

    def _end(self, reason: str) -> None:
        if self._overlap is not None:
            self._overlap.close()
        self._waiters.end(reason)
        self._at_end()

    def _take(self, action: Callable[[], None] | None) -> None:
        if action is None:
            self._closing = True
        else:
            action()
