"""What parent and child say to each other: msgpack, never pickle."""

from __future__ import annotations

from typing import Any

import msgspec

from workbench import errors
from workbench.errors import InvalidRequest, WorkbenchError, shown
from workbench.events import AnyEvent
from workbench.types import Request, TokenOut

CANNOT_CARRY = (TypeError, ValueError, OverflowError, RecursionError)
"""What msgpack raises for values it has no form for: objects, integers of more than 64 bits, half characters."""
encode = msgspec.msgpack.Encoder().encode


class Failure(msgspec.Struct, frozen=True):
    """An error on its way to the parent."""

    kind: str
    message: str
    hint: str
    facts: dict[str, Any] = {}
    """`field`, `value` and `limit` of an `InvalidRequest`."""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        if not isinstance(error, WorkbenchError):
            return cls("WorkbenchError", _utf8(f"{type(error).__name__}: {error}"), "")
        facts = {"field": error.field, "value": error.value, "limit": error.limit} if isinstance(error, InvalidRequest) else {}
        try:
            encode(facts)
        except CANNOT_CARRY:
            facts["value"] = shown(facts["value"])
        return cls(type(error).__name__, _utf8(error.message), _utf8(error.hint), facts)

    def to_error(self) -> WorkbenchError:
        """The same class again, as far as it is one of ours; a value that cannot be carried came as its `repr`."""
        found = getattr(errors, self.kind, WorkbenchError)
        error: WorkbenchError = found.__new__(found)
        WorkbenchError.__init__(error, self.message, hint=self.hint)
        vars(error).update(self.facts)
        return error


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


class Outputs(msgspec.Struct, frozen=True, tag=True):
    """Child to parent: what came of a step, and what was logged up to now."""

    outputs: list[TokenOut]
    events: list[AnyEvent]
    failures: list[tuple[str, Failure]] = []
    """Requests that end with an error, by id."""


class Loading(msgspec.Struct, frozen=True, tag=True):
    """Child to parent, while the engine opens: what is done, how much of it, of how much (0: nobody knows)."""

    what: str
    done: int
    total: int


to_child = msgspec.msgpack.Decoder(Call | Submit)
to_parent = msgspec.msgpack.Decoder(Reply | Outputs | Loading)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


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
