"""Checks the value of each keyword once, so that no other module has to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workbench.errors import InvalidRequest


def check_shapes(keywords: Mapping[str, Any], field: str) -> None:
    """Raises InvalidRequest for a value that its keyword cannot have; `field` names the schema."""
    for keyword in keywords.keys() & _SHAPES.keys():
        fits, expected = _SHAPES[keyword]
        if not fits(keywords[keyword]):
            raise InvalidRequest(f"{field}.{keyword}", keywords[keyword], expected)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == value // 1


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


Shape = tuple[Callable[[Any], bool], str]
_COUNT: Shape = (_is_count, "a length: an integer, at least 0")
_LIST: Shape = (lambda value: isinstance(value, list), "a list")
_TEXT: Shape = (lambda value: isinstance(value, str), "a string")
_MAP: Shape = (_is_map, "an object with a schema for each name")
_SHAPES: dict[str, Shape] = {
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), (_is_number, "a number")),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _COUNT),
    **dict.fromkeys(("minContains", "maxContains"), _COUNT),
    **dict.fromkeys(("prefixItems", "allOf", "anyOf", "oneOf", "enum"), _LIST),
    **dict.fromkeys(("pattern", "format"), _TEXT),
    **dict.fromkeys(("properties", "patternProperties", "dependentSchemas"), _MAP),
    "required": (_is_names, "a list of names"),
    "dependentRequired": (lambda value: _is_map(value) and all(map(_is_names, value.values())), "an object with lists of names"),
}
