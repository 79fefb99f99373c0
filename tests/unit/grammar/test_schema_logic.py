"""Negations, dependencies and branches of schemas, each with texts that are valid and invalid for it."""

# ruff: noqa: E501  (a table of data)
from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest

from workbench.bench.schemas.draws import Walker
from workbench.bench.schemas.readers import open_reader
from workbench.errors import InvalidRequest
from workbench.grammar import Vocabulary, compile_grammar
from workbench.grammar.schema.build import read_schema
from workbench.grammar.schema.forms import Object, String
from workbench.types import GrammarSpec

O: dict[str, Any] = {"type": "object"}  # noqa: E741
AB: dict[str, Any] = {**O, "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
NAMED = {"enum": ["a", "b"]}
KINDS: dict[str, Any] = {"$defs": {"base": {"allOf": [{**O, "properties": {f"p{i}": {"type": "string"} for i in range(30)}}]}}}
BRANCH = [
    {"allOf": [{"$ref": "#/$defs/base"}, {**O, "properties": {name: {"type": "integer"}}, "required": [name]}]}
    for name in "abcdefgh"
]

LOGIC: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "arrays that end only in another alternative": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/b"}, "minItems": 1, "maxItems": 1},
                                        "b": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "integer"}]}}},
        [[1], [[[2]]]], [[], 1, [[]], [1, 2]],
    ),
    "null in both branches": (
        {"type": ["object", "null"], "required": ["k"], "oneOf": [{"properties": {"k": {"enum": ["x"]}}}, {"properties": {"k": {"enum": ["y"]}}}]},
        [{"k": "x"}, {"k": "y"}], [None, {"k": "z"}],
    ),
    "lengths that objects do not have": (
        {"oneOf": [{**AB, "minLength": 5}, {**AB, "maxLength": 3, "required": ["a"]}]}, [{"b": 1}, {}], [{"a": 1}],
    ),
    "a part that further schemas widen": (
        {"oneOf": [{"required": ["a"], "properties": {"a": {"const": 1}}}, {"required": ["a"], "properties": {"a": {"const": 2}}}], "not": {"not": {"minLength": 1}}},
        [{"a": 1}], ["x", {"a": 3}],
    ),
    "not propertyNames": ({**O, "additionalProperties": {"type": "integer"}, "not": {"propertyNames": NAMED}}, [{"c": 1}, {"a": 2, "c": 1}], [{}, {"a": 1}, {"a": 1, "b": 2}]),
    "not propertyNames of listed names": ({**AB, "additionalProperties": False, "not": {"propertyNames": {"const": "a"}}}, [{"b": 1}, {"a": 1, "b": 1}], [{}, {"a": 1}]),
    "not patternProperties": ({**O, "propertyNames": {"maxLength": 3}, "additionalProperties": {"type": ["integer", "null"]}, "not": {"patternProperties": {"^[^b]": {"type": "integer"}}}}, [{"x": None}, {"b": 1, "xy": None}], [{}, {"x": 1}, {"b": None}]),
    "not additionalProperties": ({**AB, "additionalProperties": True, "not": {"properties": {"a": True}, "additionalProperties": {"type": "null"}}}, [{"b": 1}, {"c": 1}], [{}, {"a": 1}, {"c": None}]),
    "not closed": ({**AB, "not": {"properties": {"a": True}, "additionalProperties": False}}, [{"b": 1}, {"a": 1, "b": 1}], [{}, {"a": 1}]),
    "two names that must be there": (
        {**O, "additionalProperties": {"type": ["integer", "null"]}, "allOf": [{"not": {"propertyNames": NAMED}}, {"not": {"patternProperties": {"": {"type": "integer"}}}}]},
        [{"c": None}, {"a": 1, "d": None}], [{}, {"c": 1}, {"a": None}],
    ),
    "only one of two": (
        {**AB, "additionalProperties": True, "if": {"propertyNames": NAMED, "minProperties": 2}, "then": False, "else": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}},
        [{"a": 1}, {"a": 1, "c": 1}], [{}, {"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1}],
    ),
    "names of an inactive dependency": (
        {"properties": {"a": {}}, "dependentSchemas": {"a": {"properties": {"b": {}}, "additionalProperties": False}}}, [{"b": 1}, {}], [{"a": 1}, {"a": 1, "b": 2}],
    ),
    "what two branches evaluate": (
        {**O, "anyOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"b": {"const": 2}}, "required": ["b"]}], "unevaluatedProperties": False},
        [{"a": 1}, {"b": 2}, {"a": 1, "b": 2}], [{}, {"a": 1, "b": 3}, {"a": 1, "c": 1}],
    ),
    "branches with a large part in common": ({**KINDS, "oneOf": BRANCH}, [{"a": 1}, {"p1": "x", "h": 2}], [{}, {"a": 1, "b": 2}]),
    "kinds as patterns": (
        {"oneOf": [{**O, "properties": {"k": {"type": "string", "pattern": f"^{kind}$"}}, "required": ["k"]} for kind in ("ONE", "(TWO|SECOND)")]},
        [{"k": "ONE"}, {"k": "SECOND"}], [{"k": "ONETWO"}, {}],
    ),
    "an id inside is no place of its own in draft 7": (
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"n": {"type": "integer"}}, **O, "properties": {"a": {"id": "http://x/y", "items": {"$ref": "#/definitions/n"}}}},
        [{"a": [1]}], [{"a": ["x"]}],
    ),
    "a place of the document": (
        {"$defs": {"n": {"type": "integer"}, "list": {"$id": "http://x/y", "type": "array", "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/list"}, [[1]], [["x"]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGIC)
def test_a_value_is_taken_if_and_only_if_it_satisfies_the_schema(name: str, vocabulary: Vocabulary) -> None:
    schema, right, wrong = LOGIC[name]
    compiled = compile_grammar(GrammarSpec("json_schema", json.dumps(schema)), vocabulary)
    assert not compiled.unenforced
    for value in [*right, *wrong]:
        matcher, data = compiled.start(), json.dumps(value).encode()
        assert (matcher.accept_bytes(data) == len(data) and matcher.is_complete) == (value in right), value


@pytest.mark.parametrize("name", [name for name in LOGIC if "id inside" not in name and "of the document" not in name])
def test_what_is_drawn_satisfies_the_schema(name: str, vocabulary: Vocabulary) -> None:
    schema, *_ = LOGIC[name]
    compiled, walker = open_reader("workbench", vocabulary).compile(schema), Walker(vocabulary)
    drawn = [walker.draw(compiled.start(), random.Random(seed), by_byte=seed % 2 == 1) for seed in range(40)]
    texts = [text for text in drawn if text is not None]
    assert texts
    for text in texts:
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))


def test_listed_values_inside_each_other_are_settled_when_all_rules_are_made() -> None:
    value: Any = 1
    schema: Any = {"type": "integer"}
    for _ in range(40):
        value = {"a": value}
        schema = {"properties": {"a": schema}, "enum": [value, {"a": "x"}, None], **O}
    assert len(read_schema(json.dumps(schema)).rules) == 1
    assert read_schema(json.dumps(schema)).rules[0][0].values == (value,)  # type: ignore[union-attr]


def test_a_schema_that_is_its_own_part_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="does not refer to itself at the same value"):
        read_schema(json.dumps({"$defs": {"a": {**O, "allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}))


def test_a_chain_of_many_parts_is_none() -> None:
    defs = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"required": [f"r{i}"]}]} for i in range(25)}
    (form,) = read_schema(json.dumps({"$defs": {**defs, "d25": O}, "$ref": "#/$defs/d0"})).rules[0]
    assert isinstance(form, Object)
    assert {part.name for part in form.properties} == {f"r{i}" for i in range(25)}


def test_equal_schemas_are_one_rule() -> None:
    point = {**O, "properties": {"x": {"type": "string", "pattern": "^[a-f]+$"}}, "required": ["x"]}
    schema = {**O, "properties": {name: json.loads(json.dumps(point)) for name in "abcdefgh"}, "additionalProperties": False}
    root, of_point, of_x = read_schema(json.dumps(schema)).rules
    assert isinstance(root[0], Object)
    assert {part.rule for part in root[0].properties} == {1}
    assert isinstance(of_point[0], Object)
    assert isinstance(of_x[0], String)
