"""A limit on the work of reading a constraint, so that a caller's thread is never held up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class TooLarge(Exception):
    """An automaton would be too large to be useful. The message names what is large."""


class OutOfEffort(Exception):
    """The work exceeds the limit that the caller set."""


_LEFT: ContextVar[list[int] | None] = ContextVar("workbench_effort", default=None)


@contextmanager
def effort(limit: int) -> Iterator[None]:
    """Lets the block spend up to `limit` units, each about a microsecond of plain Python; then `spend` raises OutOfEffort."""
    token = _LEFT.set([limit])
    try:
        yield
    finally:
        _LEFT.reset(token)


def spend(units: int) -> None:
    """Counts work against the limit of the innermost `effort`. Raises OutOfEffort."""
    left = _LEFT.get()
    if left is not None:
        left[0] -= units
        if left[0] < 0:
            raise OutOfEffort
