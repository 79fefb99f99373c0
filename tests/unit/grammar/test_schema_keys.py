"""Strings of JSON hold whole characters, and a key beside those that `properties` lists equals none of them."""

from __future__ import annotations

import json
import random

import jsonschema
import pytest

from workbench.grammar import Vocabulary, compile_grammar
from workbench.types import GrammarSpec

NAMES = ["", "a", "ab", "abc", "b", "é", "éa", "日", 'q"x', "a\\b", "a\nb", "a/b", "/", "\\", '"', "😀", "Ã©"]


def accepts(vocabulary: Vocabulary, schema: object, text: str | bytes, max_whitespace: int = 0) -> bool:
    spec = GrammarSpec("json_schema", json.dumps(schema), max_whitespace)
    matcher = compile_grammar(spec, vocabulary).start()
    data = text.encode() if isinstance(text, str) else text
    return matcher.accept_bytes(data) == len(data) and matcher.is_complete


def spelled(draw: random.Random, key: str) -> str:
    """Writes a JSON string with some characters as escapes."""
    escaped = (f"\\u{ord(char):04X}" if ord(char) < 0x10000 and draw.random() < 0.3 else json.dumps(char)[1:-1] for char in key)
    plain = (char if char >= " " and char not in '"\\' and draw.random() < 0.8 else "" for char in key)
    return '"' + "".join(whole or part for whole, part in zip(plain, escaped, strict=True)) + '"'


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("max_whitespace", [0, 2])
def test_a_further_key_is_none_of_the_listed_ones_however_it_is_spelled(seed, max_whitespace, vocabulary: Vocabulary) -> None:
    draw = random.Random(seed)
    names = draw.sample(NAMES, draw.randrange(1, 6))
    schema = {
        "type": "object", "properties": {name: {"type": "integer"} for name in names}, "required": [],
        "additionalProperties": {"type": "string"},
    }  # fmt: skip
    validator = jsonschema.Draft202012Validator(schema)
    num_accepted = 0
    for _ in range(150):
        key = draw.choice([*names, *NAMES, "".join(draw.choices('abcé日"\\/n', k=draw.randrange(4)))])
        text = f'{{{spelled(draw, key)}: "s"}}'
        is_accepted = accepts(vocabulary, schema, text, max_whitespace)
        assert not is_accepted or validator.is_valid(json.loads(text)), text
        if "\\" not in text and key not in names:
            assert is_accepted, text
        num_accepted += is_accepted
    assert num_accepted > 20


def test_objects_inside_each_other_keep_their_keys_apart(vocabulary: Vocabulary) -> None:
    inner = {"type": "object", "properties": {"in": {"type": "null"}}, "additionalProperties": {"type": "boolean"}}
    schema = {"type": "object", "properties": {"out": inner}, "additionalProperties": inner}
    assert accepts(vocabulary, schema, '{"out": {"in": null, "out": true}, "in": {"in": null, "x": false}}')
    assert not accepts(vocabulary, schema, '{"out": {"in": null, "in": true}}')
    assert not accepts(vocabulary, schema, '{"x": {"\\u0069n": true}}')


@pytest.mark.parametrize("schema", [{"type": "string"}, {}, {"type": "string", "minLength": 1}])
def test_half_a_character_is_no_text_in_any_spelling(schema, vocabulary: Vocabulary) -> None:
    for half in (b'"\xed\xa0\x80"', b'"\\ud800"', b'"\\uDFFF"', b'"\\ud83dx"', b'"\\ud83d\\u0041"', b'"\\ud83d\\ud83d"'):
        assert not accepts(vocabulary, schema, half)
    assert accepts(vocabulary, schema, '"é漢😀"')
    if "minLength" not in schema:  # there, characters are written without escapes
        assert accepts(vocabulary, schema, r'"\ud83d\uDE00 \u00e9 \uD7FF \uE000 \n\/"')
