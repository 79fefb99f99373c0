"""Readers of a core's event log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from workbench.engine.core import EngineCore
from workbench.engine.snapshot import snapshot
from workbench.events import Event, EventLog


class Applies(Protocol):
    """The part of a view's fold that a reader needs."""

    def apply(self, event: Event) -> None:
        """Adds an event."""


F = TypeVar("F", bound=Applies)
E = TypeVar("E", bound=Event)


class HasLog(Protocol):
    """A core or a client."""

    @property
    def log(self) -> EventLog: ...


def events_of(engine: HasLog, kind: type[E], rid: str | None = None) -> list[E]:
    """Returns the logged events of one class, of one request if `rid` is given."""
    found = [event for event in engine.log.read()[1] if isinstance(event, kind)]
    return [event for event in found if rid is None or getattr(event, "rid", None) == rid]


class FoldReader(Generic[F]):
    """Folds a core's log. It begins at the oldest event; if it fell behind a bounded log, it goes on from a snapshot."""

    def __init__(self, core: EngineCore, make_fold: Callable[[], F]) -> None:
        self._core, self._make_fold = core, make_fold
        self.fold = make_fold()
        self.number = 0
        """The log's number of the next event to read."""
        self.num_restarts = 0

    def read(self) -> F:
        """Folds the new events and returns the fold."""
        first, events = self._core.log.read(self.number)
        if first > self.number:
            self.restart()
            first, events = self._core.log.read(self.number)
        for event in events:
            self.fold.apply(event)
        self.number = first + len(events)
        return self.fold

    def restart(self) -> F:
        """Begins again from a snapshot and returns the new fold. Call it between two steps."""
        self.fold = self._make_fold()
        state = snapshot(self._core)
        self.number = self._core.log.number_after(state.taken)
        for event in state.events:
            self.fold.apply(event)
        self.num_restarts += 1
        return self.fold
