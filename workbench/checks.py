"""Checks of single values. Each returns the value in its type, or raises InvalidRequest with name, value and limit."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from workbench.errors import InvalidRequest

MIN_INT, MAX_INT = -(1 << 63), (1 << 63) - 1
"""Limits of integers in messages between processes, tensors and events."""
MAX_FLOAT = sys.float_info.max


def both_names(alias: str, name: str) -> InvalidRequest:
    return InvalidRequest.because(name, f"{alias} and {name} are given, and mean the same", hint="keep one of them")


def as_int(name: str, value: Any) -> int:
    """Returns a value that counts as an integer of 64 bits; 2.0 counts as 2, as in JSON. Raises InvalidRequest for any other."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidRequest(name, value, "an integer")
    try:
        number = operator.index(value)
    except TypeError:  # a tensor has `__index__`, which fails unless it holds one integer
        raise InvalidRequest(name, value, "an integer") from None
    if not MIN_INT <= number <= MAX_INT:
        raise InvalidRequest(name, value, f"at most {MAX_INT}" if number > 0 else f"at least {MIN_INT}")
    return number


def as_float(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequest(name, value, "a number")
    if isinstance(value, int) and abs(value) > MAX_FLOAT:
        raise InvalidRequest(name, value, f"at most {MAX_FLOAT:g}" if value > 0 else f"at least {-MAX_FLOAT:g}")
    return float(value)


def check_between(
    name: str, value: float, low: float, high: float | None = None, high_name: str = "", top: float = MAX_INT
) -> None:
    """Raises InvalidRequest outside `low` and `high`. `top` is the largest number that messages carry, named if exceeded."""
    if not low <= value <= (top if high is None else high):  # also true for NaN
        limit = f"at least {low}" if not value > top else f"at most {top}"
        if high is not None:
            limit = f"between {low} and {high}{f' ({high_name})' if high_name else ''}"
        raise InvalidRequest(name, value, limit)


def as_bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(name, value, "True or False")
    return value


def as_strings(name: str, value: Any) -> tuple[str, ...]:
    items = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple, set)) else None
    if items is None or not all(isinstance(item, str) for item in items):
        raise InvalidRequest(name, value, "a string or a list of strings")
    return items


def as_choices(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not (choices := as_strings(name, value)) or "" in choices:
        raise InvalidRequest(name, value, "a list of strings of at least one character")
    if any("\ud800" <= char <= "\udfff" for char in "".join(choices)):
        raise InvalidRequest(name, value, "whole characters: a surrogate is half of one")
    return tuple(dict.fromkeys(choices))


def as_ids(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise InvalidRequest(name, value, "a list of token ids")
    return tuple(as_int(name, item) for item in value)


def as_bias(name: str, value: Any) -> dict[int, float]:
    if not isinstance(value, Mapping):
        raise InvalidRequest(name, value, "a dict from token id to a number")
    return {_token_id(name, token): as_float(name, bias) for token, bias in value.items()}


def _token_id(name: str, token: Any) -> int:
    """Returns a token id; the keys of a JSON object are strings."""
    try:
        return as_int(name, int(token) if isinstance(token, str) else token)
    except ValueError:
        raise InvalidRequest(name, token, f"a dict from token id (an integer, at most {MAX_INT}) to a number") from None


def as_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(name, value, "a string")
    return value


def as_json(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if hasattr(value, "model_json_schema"):
        value = value.model_json_schema()
    if not isinstance(value, (Mapping, bool)):
        limit = "a JSON schema: text, a dict or a Pydantic model" if name == "json_schema" else "JSON: text or a dict"
        raise InvalidRequest(name, value, limit)
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequest(name, value, f"a schema that JSON can hold ({error})") from None


def as_dict(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest(name, value, "a dict")
    return value


READERS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("max_new_tokens", "min_new_tokens", "top_k", "n", "seed", "max_whitespace"), as_int),
    **dict.fromkeys(("temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty"), as_float),
    **dict.fromkeys(("ignore_eos", "skip_special_tokens", "spaces_between_special_tokens", "json_object"), as_bool),
    "stop": as_strings,
    "stop_token_ids": as_ids,
    "logit_bias": as_bias,
    "json_schema": as_json,
    "regex": as_text,
    "ebnf": as_text,
    "choices": as_choices,
    "grammar": as_text,
    "structural_tag": as_json,
    "custom_params": as_dict,
}
"""The check of each field of `SamplingParams` by name; it returns the value in the field's type."""
