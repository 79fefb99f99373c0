"""The type of a setting: the values it takes from keywords, and the way the command line reads them."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workbench.checks import as_float, as_int
from workbench.errors import InvalidRequest

_PICKLED = "it would be pickled weights and copies of them; pt reads such weights, auto those that are saved by save_pretrained"
REFUSED = {("load_format", "npcache"): _PICKLED}
"""Hints for values that the reference has and this engine refuses."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A field's type without None: `int | None` has the base int, `Literal["a", "b"]` the base str and two choices."""

    base: type
    choices: tuple[str, ...] | None = None


def kinds_of(cls: type) -> dict[str, Kind]:
    """Returns the kind of each field."""
    return {name: _kind(hint) for name, hint in typing.get_type_hints(cls).items()}


def _kind(hint: Any) -> Kind:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):  # `Literal[...] | None` is the latter
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    return Kind(str, typing.get_args(hint)) if typing.get_origin(hint) is Literal else Kind(hint)


def checked(name: str, value: Any, kind: Kind) -> Any:
    """Returns the value in its field's type: paths and JSON as text. Raises InvalidRequest for another type."""
    if kind.choices is not None:
        if value in kind.choices:
            return value
        hint = REFUSED.get((name, value), "") if isinstance(value, str) else ""
        raise InvalidRequest(name, value, f"one of {', '.join(map(repr, kind.choices))}", hint=hint)
    is_bool = isinstance(value, bool)
    if kind.base is float and isinstance(value, (int, float)) and not is_bool:
        return as_float(name, value)
    if kind.base is int and isinstance(value, int) and not is_bool:
        return as_int(name, value)
    if name == "json_model_override_args" and isinstance(value, Mapping):
        return _json_text(name, value)
    if kind.base is str and hasattr(value, "__fspath__"):
        return value.__fspath__()
    if isinstance(value, kind.base) and (kind.base is bool or not is_bool):
        return value
    raise InvalidRequest(name, value, f"of type {kind.base.__name__}")


def _json_text(name: str, value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(name, value, f"what JSON can hold ({error})") from None
