"""Whatever the schema and the model: a finished text is JSON that the `jsonschema` package accepts."""

# ruff: noqa: E501  (a table of data)
from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import jsonschema
import numpy as np
import pytest

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar import Matcher, Vocabulary, compile_grammar
from workbench.grammar.schema.build import read_schema
from workbench.types import GrammarSpec

S, I, N, A, O, B = ({"type": kind} for kind in ("string", "integer", "number", "array", "object", "boolean"))  # noqa: E741
AB = {"properties": {"a": I, "b": S}}
NODE = {**O, "properties": {"v": I, "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}, "required": ["v", "next"]}
CAT = {**O, "properties": {"kind": {"const": "cat"}, "lives": I}, "required": ["kind"]}
DOG = {**O, "properties": {"kind": {"const": "dog"}, "name": S}, "required": ["kind", "name"]}
PETS = {
    "$defs": {"c": CAT, "d": DOG},
    "oneOf": [{"$ref": "#/$defs/c"}, {"$ref": "#/$defs/d"}],
    "discriminator": {"propertyName": "kind"},
}
DRAFT = "https://json-schema.org/draft/2020-12/schema"

ENFORCED: dict[str, Any] = {
    "anything": {}, "true": True, "string": S, "lengths": {**S, "minLength": 2, "maxLength": 3},
    "empty string": {**S, "maxLength": 0}, "pattern": {**S, "pattern": "^[ab]+$"},
    "pattern without anchors": {**S, "pattern": "[ab]"}, "pattern \\w": {**S, "pattern": r"^\w+$"},
    "pattern without": {**S, "pattern": "^[^@]+@[^@]+$"}, "pattern dot": {**S, "pattern": "^.{3}$"},
    "pattern alone": {"pattern": "^(a|b)$"}, "uuid": {**S, "format": "uuid"},
    "unknown format": {**S, "format": "password", "maxLength": 2}, "minimum": {**I, "minimum": 5},
    "maximum": {**I, "maximum": -5}, "exclusive": {**I, "exclusiveMinimum": 5, "exclusiveMaximum": 7},
    "range": {**I, "minimum": 3, "maximum": 107}, "multiple": {**I, "multipleOf": 3, "minimum": 10, "maximum": 20}, "number": N,
    "number range": {**N, "minimum": 0.5, "exclusiveMaximum": 3}, "small number": {**N, "exclusiveMinimum": 0, "maximum": 0.01},
    "minimum without type": {"minimum": 5}, "types": {"type": ["string", "integer", "null"], "minimum": 5, "minLength": 2},
    "enum": {"enum": ["a", 1, None, {"b": 2}, [1, 2], 'é"\\\n']}, "typed enum": {**S, "enum": ["x", "y"]},
    "const": {"const": {"a": 1.5}}, "array": {**A, "items": I}, "items": {**A, "items": I, "minItems": 2, "maxItems": 3},
    "count only": {"minItems": 2, "maxItems": 3}, "tuple": {**A, "prefixItems": [I, S], "items": False, "minItems": 2},
    "tuple and rest": {**A, "prefixItems": [I], "items": S, "minItems": 3},
    "unique false": {**A, "items": I, "uniqueItems": False},
    "unique values": {**A, "items": {"enum": ["a", "b", "c", 1, 1.0]}, "uniqueItems": True, "minItems": 2},
    "unique of two": {**A, "items": {"enum": [1, 2, 3, "x"], **I}, "uniqueItems": True, "maxItems": 2},
    "unevaluated items": {**A, "prefixItems": [I], "unevaluatedItems": False}, "object": O, "properties": {**O, **AB},
    "required": {**O, **AB, "required": ["b"]}, "closed": {**O, **AB, "additionalProperties": False},
    "required elsewhere": {**O, **AB, "required": ["z"]}, "required only": {"required": ["z"]},
    "no type": {**AB, "required": ["a"]},
    "rest": {**O, "properties": {"a": {"enum": [1, 2]}}, "additionalProperties": {"enum": [3, 4]}},
    "required of the rest": {**O, "properties": {"a": S}, "additionalProperties": I, "required": ["z"]},
    "open": {**O, **AB, "additionalProperties": True},
    "pattern names": {**O, "patternProperties": {"^x": I}, "additionalProperties": False},
    "names": {**O, "propertyNames": {"pattern": "^[ab]+$"}}, "at most": {**O, "additionalProperties": I, "maxProperties": 1},
    "at least": {**O, "properties": {"a": I, "b": I, "c": I}, "minProperties": 2},
    "unevaluated": {**O, **AB, "unevaluatedProperties": False},
    "strange names": {**O, "properties": {'a"b': I, "\n": S}, "required": ['a"b', "\n"]}, "anyOf": {"anyOf": [I, S]},
    "oneOf types": {"oneOf": [I, S]}, "oneOf values": {"oneOf": [{"enum": [1, 2]}, {"const": 3}]},
    "oneOf kinds": PETS,
    "allOf one": {"allOf": [{**I, "minimum": 3}], "description": "d"},
    "allOf numbers": {"allOf": [{**N, "minimum": 3}, {**I, "maximum": 5}]},
    "allOf beside": {**O, "properties": {"a": I}, "required": ["a"],
                     "allOf": [{"properties": {"b": {"const": 1}}, "required": ["b"]}]},
    "allOf same name": {"allOf": [{**O, "properties": {"a": {**I, "minimum": 2}}, "required": ["a"]},
                                  {**O, "properties": {"a": {**I, "maximum": 4}}}]},
    "allOf references": {"$defs": {"x": {**I, "minimum": 2}, "y": {"$ref": "#/$defs/z"}, "z": {**I, "maximum": 3}},
                         "allOf": [{"$ref": "#/$defs/x", "title": "t"}, {"$ref": "#/$defs/y"}]},
    "allOf with true": {"allOf": [True, {**S, "maxLength": 2}]},
    "ref": {"$defs": {"x": I}, "$ref": "#/$defs/x", "description": "d"},
    "recursive": {"$defs": {"n": NODE}, "$ref": "#/$defs/n"},
    "definitions": {"definitions": {"x": I}, "$ref": "#/definitions/x"},
    "annotations": {**I, "title": "t", "default": 3, "examples": [1], "$schema": DRAFT, "$comment": "c"},
    "not an integer": {"type": ["number", "null"], "not": I}, "not type": {"type": ["string", "integer"], "not": S, "minimum": 0}, "not values": {**I, "minimum": 0, "maximum": 9, "not": {"enum": [3, 5]}},
    "not pattern": {**S, "maxLength": 3, "not": {"pattern": "a"}}, "not required": {**O, **AB, "not": {"required": ["a"]}},
    "not both": {**O, **AB, "not": {"required": ["a", "b"]}}, "not a value of a property": {**O, **AB, "not": {"properties": {"a": {"minimum": 3}}, "required": ["a"]}},
    "if": {**O, "properties": {"kind": {"enum": ["i", "s"]}, "v": {"type": ["integer", "string"]}}, "required": ["kind", "v"],
           "if": {"properties": {"kind": {"const": "i"}}}, "then": {"properties": {"v": I}}, "else": {"properties": {"v": S}}},
    "if a bound": {**I, "minimum": 0, "maximum": 20, "if": {"minimum": 5}, "then": {"multipleOf": 6}},
    "contains": {**A, "items": {**I, "minimum": 0, "maximum": 9}, "contains": {"const": 7}},
    "contains some": {**A, "items": {"enum": [1, 2]}, "contains": {"const": 2}, "minContains": 2, "maxContains": 3, "maxItems": 6},
    "dependent": {**O, **AB, "dependentRequired": {"a": ["b"]}},
    "dependent in many ways": {**O, "properties": dict.fromkeys("abcdef", I), "dependentRequired": {"a": ["b"], "b": ["c"], "d": ["a", "e"], "f": ["d"]}},
    "arrays of two kinds": {"anyOf": [{**A, "items": I, "maxItems": 3}, {**A, "items": I, "minItems": 5}, {**A, "items": S, "minItems": 1}]},
    "dependent schema": {**O, **AB, "dependentSchemas": {"a": {"properties": {"b": {"const": "x"}}, "required": ["b"]}}},
    "old dependencies": {"$schema": "http://json-schema.org/draft-07/schema#", **O, **AB, "dependencies": {"a": ["b"]}},
    "multiples of a fraction": {**N, "multipleOf": 0.25, "minimum": -1, "maximum": 2}, "large multiples": {**I, "multipleOf": 100, "minimum": 0},
    "pattern and length": {**S, "pattern": "^a*b", "maxLength": 4}, "two patterns": {"allOf": [{**S, "pattern": "^a"}, {**S, "pattern": "b$"}], "maxLength": 5},
    "format and pattern": {**S, "format": "date", "pattern": "^2024-0"}, "format and length": {**S, "format": "ipv4", "maxLength": 8},
    "pattern with quotes": {**S, "pattern": '^"[a-z]*"$'}, "pattern with lookahead": {**S, "pattern": "^(?=.*[0-9])(?!9)[a-z0-9]{2,4}$"},
    "siblings of anyOf": {**I, "anyOf": [{"minimum": 50}, {"maximum": 5}]},
    "siblings of a reference": {"$defs": {"x": {**I, "maximum": 9}}, "$ref": "#/$defs/x", "minimum": 5},
    "old siblings of a reference": {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"x": I}, **O,
                                    "properties": {"a": {"$ref": "#/definitions/x", "minimum": 5}}, "required": ["a"]},
    "anyOf beside oneOf": {"anyOf": [I, S], "oneOf": [{"minimum": 3, **I}, {"const": 1}, {**S, "maxLength": 2}]},
    "allOf of closed objects": {"allOf": [{**O, **AB, "additionalProperties": False}, {**O, "properties": {"b": {**S, "maxLength": 2}}}]},
    "overlap": {"oneOf": [{**I, "minimum": 0}, {**I, "maximum": 5}]}, "overlap of numbers": {"oneOf": [I, {**N, "minimum": 3}]},
    "overlap of values": {"oneOf": [{"enum": [1, 2]}, {"const": 2}]},
    "overlap of required": {**O, **AB, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "overlap of closed objects": {**O, "oneOf": [{"properties": {n: I}, "additionalProperties": False} for n in "ab"]},
    "enum of another type": {**S, "enum": ["a", 1]}, "enum beside bounds": {"enum": [1, 5, 9, "x"], "minimum": 4, **N},
    "anchor": {"$defs": {"x": {"$anchor": "q", **I}}, "$ref": "#q"}, "id": {"$id": "http://x.y/s", "$defs": {"x": {"$id": "t", **I}}, "$ref": "t"},
    "escaped pointer": {"$defs": {"a/b~c": I}, "$ref": "#/$defs/a~1b~0c"},
    "mixed keywords": {"minimum": 3, "minLength": 2}, "names of two rules": {**O, **AB, "patternProperties": {"^x": I}, "required": ["a"]},
    "names of three rules": {**O, "properties": {"xa": I}, "patternProperties": {"^x": {**I, "minimum": 3}}, "additionalProperties": B},
    "names that overlap": {**O, "patternProperties": {"^xy?$": {**I, "minimum": 3}, "^x?y$": {**I, "maximum": 9}}, "additionalProperties": False},
    "names of a list": {**O, "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": I},
    "one free name": {**O, "additionalProperties": I, "minProperties": 1}, "unevaluated free": {**O, "unevaluatedProperties": I},
    "unevaluated beside": {**O, "allOf": [AB], "unevaluatedProperties": False}, "large integer": {"enum": [2**53 + 1, 2**70]},
    "large bounds": {**I, "minimum": 0, "maximum": 2**64 - 1}, "old bounds": {"$schema": "http://json-schema.org/draft-04/schema#", **N, "minimum": 0, "exclusiveMinimum": True},
    "old tuple": {"$schema": "http://json-schema.org/draft-07/schema#", **A, "items": [I, S], "additionalItems": False, "minItems": 2},
    "a property that is false": {**O, "properties": {"a": False, "b": I}}, "equal numbers": {"const": 1.0},
    "unknown keyword": {**I, "x-order": 3}, "unused definition": {**I, "$defs": {"x": {"not": {}}}},
}  # fmt: skip


def generate(matcher: Matcher, vocabulary: Vocabulary, draw: random.Random, steps: int = 120) -> str | None:
    """Draws a text evenly among the allowed tokens, with more weight on those that close. Returns None if it did not end in
    time."""
    mask = np.zeros(-(-vocabulary.size // 32), dtype=np.int32)
    ids: list[int] = []
    for _ in range(steps):
        matcher.fill_mask(mask)
        allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist()
        assert allowed, "an empty mask"
        assert matcher.num_allowed == len(allowed)
        assert matcher.is_complete == (0 in allowed)
        closing = [i for i in allowed if vocabulary.hf.convert_ids_to_tokens(i) in {"</s>", '"', "}", "]", '"}', '":Ġ"', '",Ġ"'}]
        token = draw.choice(closing if closing and draw.random() < 0.4 else allowed)
        matcher.accept(token)
        if token == 0:
            assert matcher.is_finished
            return str(vocabulary.hf.decode(ids))
        ids.append(token)
    return None


@pytest.mark.parametrize("name", ENFORCED)
def test_what_comes_out_satisfies_the_schema(name: str, vocabulary: Vocabulary) -> None:
    schema = ENFORCED[name]
    exact = json.loads(json.dumps(schema), parse_float=Decimal)
    validator = jsonschema.validators.validator_for(exact)(exact, format_checker=jsonschema.FormatChecker())
    compiled = compile_grammar(GrammarSpec("json_schema", json.dumps(schema)), vocabulary)
    assert bool(compiled.unenforced) == (name == "unknown format")
    draw = random.Random(name)
    texts = [text for _ in range(40) if (text := generate(compiled.start(), vocabulary, draw)) is not None]
    assert len(texts) >= 10, "too few ended"
    for text in texts:
        assert validator.is_valid(json.loads(text, parse_float=Decimal)), text


REFUSED: dict[str, tuple[Any, str]] = {
    "remote reference": ({"$ref": "http://x.y/z"}, "reference 'http"),
    "missing reference": ({"$ref": "#/$defs/x"}, "reference '#/"),
    "two anchors of one name": (
        {"$defs": {"x": {"$dynamicAnchor": "q"}, "y": {"$id": "y", "$dynamicAnchor": "q"}}, "$dynamicRef": "#q"}, "reference '#q'",
    ),
    "two recursive anchors": (
        {"$recursiveAnchor": True, "$defs": {"x": {"$id": "x", "$recursiveAnchor": True}}, "items": {"$recursiveRef": "#"}}, "reference '#'",
    ),
    "a reference to itself": ({"$ref": "#/$defs/x", "$defs": {"x": {"allOf": [{"$ref": "#/$defs/x"}]}}}, "does not refer to itself"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_enforced_is_refused_with_its_place(name: str, vocabulary: Vocabulary) -> None:
    schema, message = REFUSED[name]
    with pytest.raises((NotSupported, InvalidRequest), match=message):
        compile_grammar(GrammarSpec("json_schema", json.dumps(schema)), vocabulary)


@pytest.mark.parametrize(
    "text",
    [
        *("{", "3", '"string"', "false", "[]", '{"type": "zzz"}', '{"type": [["a"]]}', '{"minimum": "a"}', '{"properties": 3}'),
        *('{"type": "integer", "minimum": 5, "maximum": 3}', '{"properties": {"a": 3}}', '{"enum": []}', '{"enum": 3}'),
        *('{"anyOf": {}}', '{"required": "a"}', '{"required": [[]]}', '{"pattern": 3}', '{"pattern": "("}', '{"type": [1]}'),
        *('{"type": "object", "minProperties": "a"}', '{"$ref": "#"}', '{"$ref": 3}', '{"anyOf":[' * 3000),
    ],
)
def test_what_is_no_schema_is_an_error_and_not_a_crash(text: str, vocabulary: Vocabulary) -> None:
    with pytest.raises((InvalidRequest, NotSupported), match="json_schema"):
        compile_grammar(GrammarSpec("json_schema", text), vocabulary)


def test_separators_are_fixed(vocabulary: Vocabulary) -> None:
    schema = {
        **O,
        "properties": {"a": {"const": 1}, "b": {**A, "items": {"const": 2}, "minItems": 2, "maxItems": 2}},
        "required": ["a", "b"],
    }
    compiled = compile_grammar(GrammarSpec("json_schema", json.dumps(schema)), vocabulary)
    assert {generate(compiled.start(), vocabulary, random.Random(i)) for i in range(20)} == {'{"a": 1, "b": [2, 2]}'}


@pytest.mark.parametrize("schema", [{**S, "maxLength": 4}, {**S, "minLength": 1}, {**S, "pattern": "^.{0,3}$", "maxLength": 2}])
def test_strings_with_a_length_hold_escapes_and_count_characters(schema: dict[str, Any], vocabulary: Vocabulary) -> None:
    compiled = compile_grammar(GrammarSpec("json_schema", json.dumps(schema)), vocabulary)
    validator = jsonschema.Draft202012Validator(schema)
    for text in ['"', "\\", "\t", '"\\', "\x7f", "/", "é", "\U0001f600", "\x01\x1f", "", "ab" * 3]:
        matcher, data = compiled.start(), json.dumps(text, ensure_ascii=False).encode()
        assert (matcher.accept_bytes(data) == len(data) and matcher.is_complete) == validator.is_valid(text), repr(text)
    for char in map(chr, range(0x20)):
        assert compiled.start().accept_bytes(f'"{char}'.encode()) == 1, "a control character stands in JSON as an escape"


@pytest.mark.parametrize(
    "name, good, bad",
    [
        (
            "date",
            "2024-02-29 2000-02-29 0001-01-31 2023-11-30",
            "2023-02-29 1900-02-29 2020-02-30 2020-04-31 0000-01-01",
        ),
        ("time", "23:59:59Z 00:00:00.5+01:30", "24:00:00Z 12:60:00Z 12:00:60Z 12:00:00 12:00:001Z"),
        ("date-time", "2024-02-29T12:00:00Z", "2023-02-29T12:00:00Z 2024-01-01 2024-01-01T12:00Z"),
        ("ipv4", "0.0.0.0 255.249.199.99", "256.1.1.1 1.1.1 01.1.1.1 1.1.1.034"),
        ("json-pointer", "/a~0b/~1 /", "/a~2 a"),
        ("relative-json-pointer", "0# 12/a 1", "01 #"),
    ],
)
def test_formats_are_exact(name: str, good: str, bad: str, vocabulary: Vocabulary) -> None:
    compiled = compile_grammar(GrammarSpec("json_schema", json.dumps({**S, "format": name})), vocabulary)
    for text in (*good.split(), *bad.split()):
        matcher, data = compiled.start(), f'"{text}"'.encode()
        assert (matcher.accept_bytes(data) == len(data) and matcher.is_complete) == (text in good.split()), text


@pytest.mark.parametrize("low, high", [(-1, 3), (0, 2.5), (True, 3), ("1", 3)])
def test_a_length_that_is_none_is_refused(low: Any, high: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"json_schema\.m.* is .* a length"):
        read_schema(json.dumps({**S, "minLength": low, "maxLength": high}))


def test_a_keyword_that_nobody_knows_is_listed_and_a_property_of_that_name_is_none(vocabulary: Vocabulary) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "t", "type": "object", "nullable": True, "x-of": "us",
        "properties": {"maxLenght": {"type": "string", "maxLenght": 5, "description": "d"}, "b": {"$ref": "#/$defs/n"}},
        "$defs": {"n": {"type": "integer", "examples": [1], "contentEncoding": "base64"}},
    }  # fmt: skip
    listed = compile_grammar(GrammarSpec("json_schema", json.dumps(schema)), vocabulary).unenforced
    assert listed == (
        'json_schema: keyword "nullable"',
        'json_schema.maxLenght: keyword "maxLenght"',
    )


@pytest.mark.parametrize("keyword", [
    *("type", "enum", "minimum", "multipleOf", "minLength", "pattern", "format", "items", "prefixItems", "minItems", "contains", "not", "if"),
    *("properties", "required", "additionalProperties", "patternProperties", "propertyNames", "dependentRequired", "dependencies", "anyOf"),
])  # fmt: skip
def test_a_value_that_a_keyword_cannot_have_is_named_wherever_it_stands(keyword: str) -> None:
    for value in (True, 5, -1, 1.5, "a", [], [True], {}, {"a": 5}, {"a": [5]}, None, [None]):
        schema = {keyword: value}
        for whole in (
            schema,
            {"not": schema},
            {"oneOf": [schema, {**O, "required": ["a"]}]},
            {"if": schema, "then": S},
            {**O, "properties": {"p": schema}},
        ):
            try:
                read_schema(json.dumps(whole))
            except (InvalidRequest, NotSupported) as error:
                told = str(error)
                assert "json_schema" in told
