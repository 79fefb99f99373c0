"""The base of every event."""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """A fact in the past tense.

    `gc=False` holds for every struct inside an event too: none can refer back to its owner, and the garbage collector
    would otherwise walk through the 200,000 events of a full log.
    """

    time: float
    """Seconds on the engine's own clock: monotonic in a real engine, virtual in a simulation."""


class RequestEvent(Event, frozen=True, kw_only=True):
    """An event of one request."""

    rid: str
    """Id of the request."""
