"""`NodeQueue`: the work of one state in its order, on a thread that lives while there is any. Adding to it never waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Step = TypeVar("Step")


class NodeQueue(Generic[Step]):
    """Steps that `work` does one after the other. `work` raises nothing but the interrupt of a caller's own thread."""

    def __init__(
        self, name: str, work: Callable[[Step], None], no_thread: Callable[[RuntimeError], None], *, is_held: bool = False
    ) -> None:
        """Names the threads. A queue that is held begins with `release`. Where the system gives no thread, `no_thread` gets the
        error, and `work` then the steps, on the thread that added the last one."""
        self.changed = threading.Condition()
        """Notified when the queue becomes idle; its owner may wait for more with it."""
        self._name, self._work, self._no_thread = name, work, no_thread
        self._steps: deque[Step] = deque()
        self._is_busy = False
        self._is_held = is_held

    @property
    def is_idle(self) -> bool:
        """True if all that was added is done. Hold `changed`."""
        return not (self._steps or self._is_busy or self._is_held)

    def put(self, step: Step, *, is_quick: bool) -> None:
        """Adds a step. One that is quick is done at once, on this thread, where nothing is before it."""
        with self.changed:
            if self._is_busy or self._is_held or not is_quick:
                self._steps.append(step)
                self._start()
                return
            self._is_busy = True
        try:
            self._work(step)
        finally:
            self._end_step()

    def release(self) -> None:
        """Begins with what was added to a queue that was held."""
        with self.changed:
            self._is_held = False
            if self._steps:
                self._start()
            self.changed.notify_all()

    def _start(self) -> None:
        """Starts a thread if none runs. The caller holds the lock."""
        if self._is_busy or self._is_held:
            return
        self._is_busy = True
        try:
            threading.Thread(target=self._drain, name=self._name, daemon=True).start()
        except RuntimeError as error:
            self._is_busy = False
            self._no_thread(error)
            while self._steps:
                self._work(self._steps.popleft())

    def _drain(self) -> None:
        while True:
            with self.changed:
                if not self._steps:
                    self._is_busy = False
                    self.changed.notify_all()
                    return
                step = self._steps.popleft()
            self._work(step)

    def _end_step(self) -> None:
        """Ends a step on its caller's thread; starts a thread if more was added meanwhile."""
        with self.changed:
            self._is_busy = False
            if self._steps:
                self._start()
            self.changed.notify_all()
