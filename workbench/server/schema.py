"""Builders of JSON schemas, for `/openapi.json`. Where null is accepted it stands for a field that is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workbench.checks import MAX_INT, MIN_INT

Schema = dict[str, Any]
MOST = MAX_INT - 1023
"""The largest integer of 64 bits that is a float too: limits are floats in the documents that FastAPI writes."""
NULL: Schema = {"type": "null"}
TEXT: Schema = {"type": "string"}
SOME_TEXT: Schema = {"type": "string", "minLength": 1}
BOOLEAN: Schema = {"type": "boolean"}
ANY_OBJECT: Schema = {"type": "object"}


def whole(low: int = MIN_INT, high: int = MOST) -> Schema:
    """Returns the schema of an integer, of 64 bits if no smaller range is given."""
    return {"type": "integer", "minimum": low, "maximum": high}


def real(low: float | None = None, high: float | None = None, above: float | None = None) -> Schema:
    """Returns the schema of a number in a range; `above` is its lower end, left out."""
    bounds = {"minimum": low, "maximum": high, "exclusiveMinimum": above}
    return {"type": "number", **{name: bound for name, bound in bounds.items() if bound is not None}}


def many(item: Schema, least: int = 1, most: int | None = None) -> Schema:
    """Returns the schema of a list."""
    return {"type": "array", "items": item, "minItems": least, **({} if most is None else {"maxItems": most})}


def record(required: dict[str, Schema], *, closed: bool = False, **optional: Schema) -> Schema:
    """Returns the schema of an object, which has no other fields if it is `closed`."""
    made: Schema = {"type": "object", "properties": {**required, **optional}, "required": [*required]}
    return made | ({"additionalProperties": False} if closed else {})


def one_of(*schemas: Schema) -> Schema:
    """Returns the schema of a value that has one of these."""
    return {"anyOf": [*schemas]}


def names(*known: str) -> Schema:
    """Returns the schema of a name, or of null."""
    return one_of({"enum": [*known]}, NULL)


def each(schema: Schema) -> Schema:
    """Returns the schema of an option of `/generate`: a value for all prompts, or a list with one for each."""
    return one_of(schema, many(one_of(schema, NULL)), NULL)


def needs(field: str, harmless: Schema, **needed: Schema) -> dict[str, Schema]:
    """Returns the rule that where `field` has no `harmless` value the body has the fields `needed`, by the field's name."""
    rest = {"properties": needed, "required": [*needed]}
    says = f"`{field}` needs {_listed(needed)}."
    return {field: {"description": says, **one_of({"properties": {field: harmless}}, rest)}}


def apart(*fields: str) -> dict[str, Schema]:
    """Returns the rules that only one of these fields has a value, by the field's name."""

    def nothing(*others: str) -> Schema:
        return {"properties": dict.fromkeys(others, NULL)}

    def alone(name: str) -> Schema:
        return one_of(nothing(name), nothing(*(other for other in fields if other != name)))

    says = f"At most one of {_listed(fields)} is given."
    return {name: {"description": says, **alone(name)} for name in fields}


def rules(exactly: Sequence[str], least: Sequence[str], more: Mapping[str, Schema]) -> Schema:
    """Returns the part of an object's schema that its fields depend on each other; its description has that in words.

    Exactly one field of `exactly`, and at least one of `least` is given; `more` is made by `needs` and `apart`.
    """
    made: Schema = {}
    says: list[str] = []
    if exactly:
        made["oneOf"] = [{"required": [name]} for name in exactly]
        says.append(f"Exactly one of {_listed(exactly)} is given.")
    if least:
        made["anyOf"] = [{"required": [name]} for name in least]
        says.append(f"At least one of {_listed(least)} is given.")
    if more:
        made["dependentSchemas"] = more
        says += dict.fromkeys(rule["description"] for rule in more.values())
    return made | ({"description": " ".join(says)} if says else {})


def _listed(fields: Iterable[str]) -> str:
    *first, last = (f"`{name}`" for name in fields)
    return f"{', '.join(first)} and {last}" if first else last
