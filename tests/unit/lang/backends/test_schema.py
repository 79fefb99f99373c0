"""Strict schemas: their values also fit the original schema, and vendors that need the form receive it."""

from __future__ import annotations

import itertools

import jsonschema
import pytest

from workbench.lang.backends.schema import strict_schema

ADDRESS = {"type": "object", "properties": {"city": {"type": "string", "default": "Oslo"}, "zip": {"type": "integer"}}}
SCHEMAS = [
    ADDRESS,
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/A", "default": {}}, "b": {}}, "$defs": {"A": ADDRESS}},
    {"anyOf": [ADDRESS, {"type": "null"}, {"type": "array", "items": ADDRESS}]},
    {"type": "object", "properties": {"default": {"type": "integer"}, "required": {"type": "string"}}, "required": []},
    {"type": "object", "properties": {"a": {"enum": [{"default": 1, "properties": {}}]}}, "additionalProperties": True},
    {"not": ADDRESS},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    True,
]
ADDRESSES = [{}, {"city": "A"}, {"zip": 1}, {"city": "A", "zip": 1}, {"city": "A", "zip": 1, "c": 2}, {"city": 1, "zip": 1}]
VALUES = [
    *ADDRESSES, None, 3, *([address] for address in ADDRESSES), *({"a": a, "b": b} for a, b in itertools.product(ADDRESSES, [0])),
    {"default": 1}, {"default": 1, "required": "x"}, {"a": {"default": 1, "properties": {}}}, {"x": 1}, {"x": "y"},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_fits_the_strict_schema_fits_the_schema(schema):
    strict = strict_schema(schema)
    fitting = [value for value in VALUES if jsonschema.Draft202012Validator(strict).is_valid(value)]
    assert fitting
    assert all(jsonschema.Draft202012Validator(schema).is_valid(value) for value in fitting)


def test_objects_have_all_of_their_properties_and_no_others_and_no_defaults():
    strict = strict_schema(SCHEMAS[1])
    assert strict["required"] == ["a", "b"]
    assert strict["additionalProperties"] is False
    assert strict["properties"]["a"] == {"$ref": "#/$defs/A"}
    assert strict["$defs"]["A"] == {
        "type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "integer"}},
        "required": ["city", "zip"], "additionalProperties": False,
    }  # fmt: skip


def test_names_of_properties_and_values_are_left_alone():
    assert strict_schema(SCHEMAS[3])["properties"] == SCHEMAS[3]["properties"]
    assert strict_schema(SCHEMAS[4])["properties"] == SCHEMAS[4]["properties"]
    assert strict_schema(SCHEMAS[5]) == SCHEMAS[5]
    assert strict_schema(SCHEMAS[6]) == SCHEMAS[6]
