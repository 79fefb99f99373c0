"""What parent and child say to each other: msgpack, never pickle."""

from __future__ import annotations

from typing import Any

import msgspec

from workbench.events import AnyEvent
from workbench.types import Request, TokenOut
from workbench.wire_error import CANNOT_CARRY, Failure, encode


class Call(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: do this; a `Reply` with the same number follows."""

    number: int
    name: str
    args: list[Any]


class Submit(msgspec.Struct, frozen=True, tag=True):
    number: int
    requests: list[Request]


class Reply(msgspec.Struct, frozen=True, tag=True):
    number: int
    value: Any = None
    failure: Failure | None = None
    events: list[AnyEvent] | None = None
    """The second half of the answer to `snapshot`, whose first is the value."""


class Outputs(msgspec.Struct, frozen=True, tag=True):
    """Child to parent: what came of a step, and what was logged up to now."""

    outputs: list[TokenOut]
    events: list[AnyEvent]
    failures: list[tuple[str, Failure]] = []
    """Requests that end with an error, by id."""
    num_lost: int = 0
    """Events before these that were dropped before they could be sent."""


class Loading(msgspec.Struct, frozen=True, tag=True):
    """Child to parent, while the engine opens: what is done, how much of it, of how much (0: nobody knows)."""

    what: str
    done: int
    total: int


to_child = msgspec.msgpack.Decoder(Call | Submit)
to_parent = msgspec.msgpack.Decoder(Reply | Outputs | Loading)


def uncarried(message: Call | Submit) -> tuple[str, Any]:
    """(name, value) of what in a message cannot be sent."""
    parts = [part for request in message.requests for part in (request.params, request)] if isinstance(message, Submit) else []
    for part in [*parts, message]:
        for name in part.__struct_fields__:
            try:
                encode(getattr(part, name))
            except CANNOT_CARRY:
                return name, getattr(part, name)
    return "request", message
