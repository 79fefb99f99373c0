"""The reasons why requests wait: each refusal is counted in its stay in the queue, and is an event where the reason is new."""

from __future__ import annotations

from collections.abc import Callable

from workbench.engine.sequence import Sequence
from workbench.engine.waiting import Wait
from workbench.events import EventLog, RequestWaited, RequestWaiting, WaitReason


class Refusals:
    """The stays in the queue of requests that were refused a place. Does nothing while no events are recorded."""

    def __init__(self, log: EventLog, clock: Callable[[], float]) -> None:
        self._log, self._clock = log, clock
        self._waits: dict[int, Wait] = {}
        """By sequence id."""

    def add(self, seq: Sequence, reason: WaitReason, *, blocked_by: str = "", needed: int = 0, available: int = 0) -> None:
        """Changes: records that a request has no place in this step, and the reason."""
        if not self._log.on:
            return
        now = self._clock()
        wait = self._waits.get(seq.seq_id)
        if wait is None:
            wait = self._waits[seq.seq_id] = Wait(now)
        if wait.turn_to(reason, blocked_by, now):
            self._log.add(
                RequestWaiting(time=now, rid=seq.rid, reason=reason, blocked_by=blocked_by,
                               num_needed=needed, num_available=available)
            )  # fmt: skip

    def end(self, seq: Sequence) -> None:
        """Changes: the request leaves the queue; what it waited for is an event."""
        if (wait := self._waits.pop(seq.seq_id, None)) is not None:
            now = self._clock()
            self._log.add(RequestWaited(time=now, rid=seq.rid, parts=wait.parts(now)))

    def wait_of(self, seq: Sequence) -> Wait | None:
        """Returns the stay of a request in the queue; None if it was not refused, or nothing is recorded. Reads only."""
        return self._waits.get(seq.seq_id)
