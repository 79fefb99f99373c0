"""Whatever the schema and however unwilling the model: a finished text is JSON that the `jsonschema` package accepts."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import numpy as np
import pytest

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar import Matcher, Vocabulary, compile_grammar
from workbench.grammar.json_schema import enforceable
from workbench.types import GrammarSpec

S, I, N, A, O = ({"type": kind} for kind in ("string", "integer", "number", "array", "object"))  # noqa: E741
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
    "pattern alone": {"pattern": "^a|b$"}, "uuid": {**S, "format": "uuid"},
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
    "unknown keyword": {**I, "x-order": 3}, "unused definition": {**I, "$defs": {"x": {"not": {}}}},
}  # fmt: skip


def generate(matcher: Matcher, vocabulary: Vocabulary, draw: random.Random, steps: int = 120) -> str | None:
    """A text from tokens drawn evenly among the allowed (a little for those that close); None if it did not end in time."""
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
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker(["uuid"]))
    compiled = compile_grammar(GrammarSpec("json_schema", json.dumps(schema)), vocabulary)
    assert bool(compiled.unenforced) == (name == "unknown format")
    draw = random.Random(name)
    texts = [text for _ in range(40) if (text := generate(compiled.start(), vocabulary, draw)) is not None]
    assert len(texts) >= 10, "too few ended"
    for text in texts:
        assert validator.is_valid(json.loads(text)), text


REFUSED: dict[str, tuple[Any, str]] = {
    "not": ({"not": I}, "'not'"),
    "if": ({**O, "properties": {"a": {**I, "if": {"minimum": 5}, "then": {"maximum": 6}}}}, r"json_schema\.a: '(if|then)'"),
    "contains": ({**A, "contains": I}, "'contains'"),
    "unique": ({**A, "uniqueItems": True}, "'uniqueItems'"),
    "dependent": ({**O, "dependentRequired": {"a": ["b"]}}, "'dependentRequired'"),
    "float multiples": ({**N, "multipleOf": 0.5}, "'multipleOf' of a number"),
    "pattern and length": ({**S, "pattern": "^a*$", "maxLength": 3}, "'pattern' beside a length"),
    "format and length": ({**S, "format": "date", "maxLength": 3}, "'format' beside a length"),
    "pattern that needs escapes": ({**S, "pattern": '^"+$'}, "pattern: a character that can never come"),
    "pattern with lookahead": ({**S, "pattern": "(?=a)"}, "pattern: lookahead"),
    "siblings of anyOf": ({**I, "anyOf": [{"minimum": 50}, {"maximum": 5}]}, "'anyOf' beside 'type'"),
    "siblings of a reference": ({"$defs": {"x": I}, "$ref": "#/$defs/x", "minimum": 5}, "beside 'minimum'"),
    "two of a kind": ({"anyOf": [I], "oneOf": [I]}, "'anyOf' beside 'oneOf'"),
    "several allOf": (
        {"allOf": [{**S, "pattern": "^a"}, {**S, "pattern": "b$"}]},
        "'allOf' of several schemas .'pattern' given twice",
    ),
    "allOf of closed objects": (
        {"allOf": [{**O, "properties": {"a": I}, "additionalProperties": False}, {**O, "properties": {"b": I}}]},
        "'additionalProperties' of one beside",
    ),
    "allOf of two closed objects": (
        {"allOf": [{**O, "properties": {name: I}, "additionalProperties": False} for name in "ab"]},
        "'additionalProperties' of one beside",
    ),
    "allOf of a tuple and a list": ({"allOf": [{**A, "prefixItems": [S]}, {**A, "items": S}]}, "'items' of one beside"),
    "allOf of types": ({"allOf": [I, S]}, "'type' given twice"),
    "overlap": ({"oneOf": [{**I, "minimum": 0}, {**I, "maximum": 5}]}, "'oneOf' of schemas that may hold together"),
    "overlap of numbers": ({"oneOf": [I, N]}, "may hold together"),
    "overlap of values": ({"oneOf": [{"enum": [1, 2]}, {"const": 2}]}, "may hold together"),
    "enum of another type": ({**S, "enum": ["a", 1]}, "'enum' with values of another type"),
    "remote reference": ({"$ref": "http://x.y/z"}, "reference 'http"),
    "missing reference": ({"$ref": "#/$defs/x"}, "reference '#/"),
    "anchor": ({"$defs": {"x": {"$anchor": "q"}}, "$ref": "#q"}, "reference '#q'"),
    "mixed keywords": ({"minimum": 3, "minLength": 2}, "without 'type'"),
    "names of two rules": ({**O, **AB, "patternProperties": {"^x": I}}, "several rules"),
    "required of a closed object": ({**O, **AB, "required": ["z"], "additionalProperties": False}, "required property 'z'"),
    "repeated names": ({**O, "additionalProperties": I, "minProperties": 2}, "'minProperties' where names are free"),
    "large integer": ({"enum": [2**53 + 1]}, "2\\*\\*53"),
    "unevaluated": ({**O, "unevaluatedProperties": I}, "'unevaluatedProperties'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_enforced_is_refused_with_its_place(name: str, vocabulary: Vocabulary) -> None:
    schema, message = REFUSED[name]
    with pytest.raises(NotSupported, match=message):
        compile_grammar(GrammarSpec("json_schema", json.dumps(schema)), vocabulary)


@pytest.mark.parametrize(
    "text",
    [
        *("{", "3", '"string"', "false", "[]", '{"type": "zzz"}', '{"type": [["a"]]}', '{"minimum": "a"}', '{"properties": 3}'),
        *('{"type": "integer", "minimum": 5, "maximum": 3}', '{"properties": {"a": 3}}', '{"enum": []}', '{"enum": 3}'),
        *('{"anyOf": {}}', '{"required": "a"}', '{"required": [[]]}', '{"pattern": 3}', '{"pattern": "("}', '{"items": [{}]}'),
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


@pytest.mark.parametrize("schema", [{**S, "maxLength": 4}, {**S, "minLength": 1}, {**S, "minLength": 0, "maxLength": 9}])
def test_strings_of_a_given_length_hold_nothing_that_json_would_escape(schema: dict[str, Any], vocabulary: Vocabulary) -> None:
    compiled = compile_grammar(GrammarSpec("json_schema", json.dumps(schema)), vocabulary)
    for char in [*map(chr, range(0x20)), "\\"]:
        assert compiled.start().accept_bytes(f'"{char}'.encode()) == 1, repr(char)
    for char in ("é", "\x7f", "/", "\U0001f600"):
        assert compiled.start().accept_bytes(f'"{char}'.encode()) == 1 + len(char.encode())


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
    with pytest.raises(InvalidRequest, match=r"json_schema is .* a length"):
        enforceable(json.dumps({**S, "minLength": low, "maxLength": high}))


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
        'json_schema.b.$ref: keyword "contentEncoding"',
    )
