"""Steps that overlap: while one is computed, the one before is committed and delivered and the one after is planned."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from workbench.client.waiters import answer
from workbench.engine.core import EngineCore
from workbench.engine.step import Step
from workbench.types import TokenOut

Deliver = Callable[[list[TokenOut]], None]


class Overlap:
    """Advances a core. All of the model's work stays on the calling thread; a thread of its own does the rest meanwhile.

    The two never touch the core at once: this one executes a step, which changes nothing but the step.
    """

    def __init__(self, core: EngineCore, deliver: Deliver, is_wanted: Callable[[], bool]) -> None:
        """Starts the thread. `is_wanted` returns whether the caller has something to do with the core before the next step."""
        self._core, self._deliver, self._is_wanted = core, deliver, is_wanted
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="workbench-scheduler", daemon=True)
        self._thread.start()

    def advance(self) -> None:
        """Computes steps until one cannot be planned ahead or the caller is wanted; at least one, if there is work."""
        core = self._core
        step = core.begin()
        if step is None:
            self._deliver(core.drain())
            return
        ahead = core.ahead(step)
        core.execute(step)
        while ahead is not None and not self._is_wanted() and core.follow(step, ahead):
            planned = self._start(step, ahead)
            core.execute(ahead)
            step, ahead = ahead, planned.result()
        self._deliver(core.finish(step))

    def close(self) -> None:
        """Ends the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _start(self, step: Step, following: Step) -> Future[Step | None]:
        """Commits and delivers `step` on the other thread. The future holds the step that is planned behind `following`."""

        def finish() -> Step | None:
            self._deliver(self._core.finish(step, is_overlapped=True))
            return self._core.ahead(following)

        future: Future[Step | None] = Future()
        self._jobs.put(lambda: answer(future, finish))
        return future

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
