"""JSON schemas as the vendors that bind a model to them take them."""

from __future__ import annotations

from typing import Any

NAMED = frozenset({"properties", "$defs", "definitions"})
"""Keywords whose value has a schema for each of its names."""
UNTOUCHED = frozenset({"enum", "const", "not", "if", "allOf"})
"""Keywords whose value is no schema, or one that may not get narrower by itself."""
NOTES = frozenset({"title", "description", "default", "examples"})


def strict_schema(schema: Any) -> Any:
    """The same schema in the strict form: objects have all of their properties and no others, nothing has a default.

    What fits it fits `schema` too, so nothing is lost but the freedom to leave a property out. An object whose properties
    are not listed stays as it is.
    """
    if isinstance(schema, list):
        return [strict_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {keyword: _inside(keyword, value) for keyword, value in schema.items() if keyword != "default"}
    if "$ref" in strict:  # which may have nothing beside it
        return {keyword: value for keyword, value in strict.items() if keyword not in NOTES}
    if "properties" in strict:
        strict["required"] = list(strict["properties"])
        if strict.get("additionalProperties", True) is True:
            strict["additionalProperties"] = False
    return strict


def _inside(keyword: str, value: Any) -> Any:
    if keyword in UNTOUCHED:
        return value
    if keyword in NAMED and isinstance(value, dict):
        return {name: strict_schema(each) for name, each in value.items()}
    return strict_schema(value)
