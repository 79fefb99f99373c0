"""Allowed values of a setting, declared beside its type: `page_size: Annotated[int, at_least(1)]`.

The check, the command line's help and the reference page all read this declaration.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Limit:
    """A condition that every value other than None meets."""

    words: str
    """The condition in words, after "it must be"."""
    holds: Callable[[Any], bool]


def at_least(low: int) -> Limit:
    return Limit(f"at least {low}", lambda value: value >= low)


def at_most(high: int) -> Limit:
    return Limit(f"at most {high}", lambda value: value <= high)


ABOVE_0 = Limit("above 0 and finite", lambda value: 0 < value < float("inf"))
ABOVE_0_S = Limit("above 0 seconds and finite", ABOVE_0.holds)
FRACTION = Limit("between 0 and 1", lambda value: 0 < value < 1)
CHUNK = Limit("at least 1", lambda value: value == -1 or value >= 1)


def limits_of(cls: type) -> dict[str, tuple[Limit, ...]]:
    """Returns the limits that the fields of a group declare, by name; fields without limits are left out."""
    found = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        limits = tuple(each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Limit))
        if limits:
            found[name] = limits
    return found


def check_limits(group: object) -> None:
    """Raises InvalidRequest for the first field whose value is outside its limits."""
    for name, limits in limits_of(type(group)).items():
        value = getattr(group, name)
        for limit in limits:
            if value is not None and not limit.holds(value):
                raise InvalidRequest(name, value, limit.words)


def check_json_object(name: str, text: str) -> None:
    """Raises InvalidRequest for a text that is not a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of thousands of digits
        raise InvalidRequest(name, text, f"a JSON object ({error})") from None
    if not isinstance(value, dict):
        raise InvalidRequest(name, text, "a JSON object")
