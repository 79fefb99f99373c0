"""One run of a program: what its states share. It keeps the open requests, so that it can end them all."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.errors import Aborted
from workbench.events import Event
from workbench.events.program import ProgramEvent
from workbench.lang.backends.base import Backend
from workbench.lang.nodes import Metas, ProgramNode, Value
from workbench.lang.prompt import Prompt

if TYPE_CHECKING:
    from workbench.lang.interpret import Executor

Key = tuple[tuple[int, ...], int]
"""Key of a generation or selection in a program: its state's branch, and its number in that state."""


@dataclass(frozen=True, slots=True)
class Generated:
    """The answer to a generation or selection, with its node and prompt."""

    node: ProgramNode
    prompt: Prompt
    value: Value
    meta_info: Metas
    is_replayed: bool = False
    """True if the answer is from an earlier run."""


@dataclass(frozen=True)
class Replay:
    """Answers of an earlier run, and texts that replace some of them."""

    answers: Mapping[Key, Generated] = field(default_factory=dict)
    edits: Mapping[Key, str] = field(default_factory=dict)

    def find(self, key: Key, node: ProgramNode, prompt: Prompt) -> tuple[Value, Metas] | None:
        """Returns value and meta information: the edit, else the earlier answer to the same node after the same prompt."""
        if key in self.edits:
            return self.edits[key], {}
        answer = self.answers.get(key)
        if answer is None or (answer.node, answer.prompt) != (node, prompt):
            return None
        return answer.value, answer.meta_info


class RunState:
    """One run of a program."""

    def __init__(
        self,
        name: str,
        backend: Backend,
        defaults: Mapping[str, Any] | None = None,
        logprobs: Mapping[str, Any] | None = None,
        *,
        is_streamed: bool = False,
        replay: Replay | None = None,
        num_ahead: int | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex[:8]
        self.name = name
        self.backend = backend
        self.defaults = defaults or {}
        self.logprobs = logprobs or {}
        self.is_streamed = is_streamed
        self.replay = replay or Replay()
        self.num_ahead = num_ahead if backend.writes_ahead else None
        """Number of tokens that one call writes for several generations, or None (`workbench.lang.lookahead`)."""
        self.events: list[Event] = []
        self.answers: dict[Key, Generated] = {}
        self.executors: list[Executor] = []
        self.is_aborted = False
        self.failure: BaseException | None = None
        """Error that `run` raises: that of the function's body, or the first one of a state."""
        self.body_done = threading.Event()
        """Set once the program's function has returned or raised, so that no new names appear."""
        self.body_thread: int | None = None
        self._open: set[str] = set()
        self._num_parts = 0
        self._lock = threading.Lock()

    def record(self, event: type[ProgramEvent], **fields: Any) -> None:
        """Adds an event to the run's own list and to the backend's log."""
        happened = event(time=time.monotonic(), program=self.id, **fields)
        self.events.append(happened)
        if self.backend.log.on:
            self.backend.log.add(happened)

    def next_part(self) -> int:
        with self._lock:
            self._num_parts += 1
            return self._num_parts

    @contextmanager
    def opened(self, rid: str) -> Iterator[None]:
        """Registers a request as open while inside; `abort` ends it. Raises Aborted if the run was aborted."""
        with self._lock:
            if self.is_aborted:
                raise Aborted(f"program {self.name} was aborted")
            self._open.add(rid)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(rid)
            self.backend.forget(rid)

    def abort(self, error: BaseException | None = None) -> None:
        """Ends every open request and fails what waits for one; no reader waits any more when this returns."""
        with self._lock:
            self.is_aborted = True
            open_rids, executors = list(self._open), list(self.executors)
        for rid in open_rids:
            self.backend.abort(rid)
            with self._lock:
                is_over = rid not in self._open
            if is_over:  # it ended meanwhile
                self.backend.forget(rid)
        reason = error if isinstance(error, Exception) else Aborted(f"program {self.name} was aborted")
        for executor in executors:
            executor.abandon(reason)

    @property
    def is_followed(self) -> bool:
        """True if the run is streamed and this thread, which reads the state, is not the function's."""
        return self.is_streamed and self.body_thread != threading.get_ident()

    def end(self, error: BaseException | None) -> None:
        """Ends the run after the function's body: no new names come, and readers of the whole text have all of it."""
        self.body_done.set()
        for executor in list(self.executors):
            executor.end(error)

    def sync(self) -> None:
        """Waits until every state, forks included, has an empty queue."""
        num_synced = 0
        while num_synced < len(self.executors):
            self.executors[num_synced].sync()
            num_synced += 1

    @property
    def error(self) -> BaseException | None:
        """First error of any state, or None."""
        return next((executor.error for executor in self.executors if executor.error is not None), None)
