"""`allOf` as one schema, where several schemas plainly make one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LARGEST = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
SMALLEST = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
OF_OTHER_NAMES = ("additionalProperties", "patternProperties", "unevaluatedProperties")
"""What these say depends on the `properties` beside them."""


class CannotMerge(ValueError):
    """Names the keyword that two schemas do not share."""


def merged(schemas: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One schema that a value satisfies exactly if it satisfies all. Raises CannotMerge where that is not plain to see."""
    first, *others = schemas
    whole = dict(first)
    for schema in others:
        if name := _differ(whole, schema):
            raise CannotMerge(f"{name!r} of one beside what only the other lists")
        for keyword, value in schema.items():
            whole[keyword] = _together(keyword, whole[keyword], value) if keyword in whole else value
    return whole


def _differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """A keyword whose meaning depends on neighbours that only one of the two has."""
    both = one.keys() | other.keys()
    if one.get("properties", {}).keys() != other.get("properties", {}).keys():
        return next((name for name in OF_OTHER_NAMES if name in both), "")
    if one.get("prefixItems") != other.get("prefixItems"):
        return next((name for name in ("items", "unevaluatedItems") if name in both), "")
    return ""


def _together(keyword: str, one: Any, other: Any) -> Any:
    if one == other and isinstance(one, bool) == isinstance(other, bool):
        return one
    numbers = isinstance(one, (int, float)) and isinstance(other, (int, float))
    if keyword in LARGEST and numbers:
        return max(one, other)
    if keyword in SMALLEST and numbers:
        return min(one, other)
    if keyword == "type" and sorted([str(one), str(other)]) == ["integer", "number"]:
        return "integer"
    if keyword == "required" and isinstance(one, list) and isinstance(other, list):
        return [*one, *(name for name in other if name not in one)]
    if keyword == "properties" and isinstance(one, dict) and isinstance(other, dict):
        return one | {name: merged([one[name], value]) if name in one else value for name, value in other.items()}
    if keyword in ("title", "description", "default", "examples", "$comment", "$schema", "$id"):
        return one
    raise CannotMerge(f"{keyword!r} given twice")
