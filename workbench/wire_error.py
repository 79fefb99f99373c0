"""`Failure`: an error as a message between processes, in msgpack and never pickle."""

from __future__ import annotations

from typing import Any

import msgspec

from workbench import errors
from workbench.errors import InvalidRequest, WorkbenchError, shown

CANNOT_CARRY = (TypeError, ValueError, OverflowError, RecursionError)
"""Errors of msgpack for values that it has no form for: objects, integers of more than 64 bits, half characters."""
encode = msgspec.msgpack.Encoder().encode


class Failure(msgspec.Struct, frozen=True):
    """An error of this package; any other error becomes a `WorkbenchError` that names its class."""

    kind: str
    message: str
    hint: str
    facts: dict[str, Any] = {}
    """`field`, `value` and `limit` of an `InvalidRequest`."""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Returns an error as a message. A value that msgpack cannot carry becomes its `repr`."""
        if not isinstance(error, WorkbenchError):
            return cls("WorkbenchError", as_utf8(f"{type(error).__name__}: {error}"), "")
        facts = {"field": error.field, "value": error.value, "limit": error.limit} if isinstance(error, InvalidRequest) else {}
        try:
            encode(facts)
        except CANNOT_CARRY:
            facts["value"] = shown(facts["value"])
        return cls(type(error).__name__, as_utf8(error.message), as_utf8(error.hint), facts)

    def to_error(self) -> WorkbenchError:
        """Returns the error again, of the same class."""
        found = getattr(errors, self.kind, WorkbenchError)
        error: WorkbenchError = found.__new__(found)
        WorkbenchError.__init__(error, self.message, hint=self.hint)
        vars(error).update(self.facts)
        return error


def as_utf8(text: str) -> str:
    """Returns the text with question marks in place of half characters."""
    return text.encode("utf-8", "replace").decode()
