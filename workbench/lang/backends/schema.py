"""Makes the strict form of JSON schemas that vendors need to enforce them."""

from __future__ import annotations

from typing import Any

NAMED = frozenset({"properties", "$defs", "definitions"})
"""Keywords whose value is a dict of schemas by name."""
UNTOUCHED = frozenset({"enum", "const", "not", "if", "allOf"})
"""Keywords whose value is no schema, or a schema that must not be narrowed alone."""
NOTES = frozenset({"title", "description", "default", "examples"})


def strict_schema(schema: Any) -> Any:
    """Returns the schema in the strict form: objects have all of their properties and no others, and no value has a default.

    Every value of the strict schema is valid for `schema` too; only optional properties become required. An object whose
    properties are not listed is not changed.
    """
    if isinstance(schema, list):
        return [strict_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {keyword: _inside(keyword, value) for keyword, value in schema.items() if keyword != "default"}
    if "$ref" in strict:  # it may have no other keywords
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
