"""`CALL`: the HTTP request that the present task or thread answers."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Call:
    """One HTTP request. Calls from Python have an empty one."""

    origin: str = ""
    """The client in words, such as "/v1/completions from 127.0.0.1"."""
    path: str = ""
    parents: Mapping[str, str] = field(default_factory=dict)
    """Headers that name the caller's span."""


CALL: ContextVar[Call] = ContextVar("CALL", default=Call())  # noqa: B039 - it is frozen
"""The call that is answered. A server sets it for each HTTP request."""
