"""The base of every event."""

from __future__ import annotations

import msgspec

TEXT = 32
"""Bytes of a text that take as much memory as a number of a list."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """A fact in the past tense.

    `gc=False` holds for every struct inside an event too: none can refer back to its owner, and the garbage collector
    would otherwise walk through the 200,000 events of a full log.
    """

    time: float
    """Seconds on the engine's own clock: monotonic in a real engine, virtual in a simulation."""

    @property
    def num_held(self) -> int:
        """Numbers in the lists that it holds, which may be as long as a prompt; long texts count too. They bound a log."""
        return 0


class RequestEvent(Event, frozen=True, kw_only=True):
    """An event of one request."""

    rid: str
    """Id of the request."""
