"""A pattern inside JSON accepts exactly what it accepts alone, whatever surrounds its repetitions."""

from __future__ import annotations

import itertools
import json
import random
import re

import pytest
import xgrammar
from random_patterns import random_pattern

from workbench.grammar.schema.build import read_schema
from workbench.grammar.schema.write_ebnf import Style, schema_ebnf

COMPILER = xgrammar.GrammarCompiler(
    xgrammar.TokenizerInfo([chr(i) for i in range(128)], xgrammar.VocabType.RAW, stop_token_ids=[]),
    max_threads=1,
    cache_enabled=False,
)
ATOMS = ["a", "b", "c", "[ab]", "[^a]"]
TEXTS = ["".join(chars) for length in range(5) for chars in itertools.product("abc", repeat=length)]


def accepted(schema: object, texts: list[str]) -> set[str]:
    compiled = COMPILER.compile_grammar(xgrammar.Grammar.from_ebnf(schema_ebnf(read_schema(json.dumps(schema)), Style())))
    found = set()
    for text in texts:
        matcher = xgrammar.GrammarMatcher(compiled)
        if matcher.accept_string(text) and matcher.is_completed():
            found.add(text)
    return found


BROKEN = ["a(?:b(?:c){1,2})?", "(?:a(?:a){1,2})?", "(?:ac(?:c){2,}){0,1}", "(?:c|[ab])(?:(?:a|a)|(?:a){0,2})"]
"""Patterns that the backend's own automaton for JSON gets wrong."""


@pytest.mark.parametrize("pattern", [*BROKEN, *(random_pattern(random.Random(seed), 3, ATOMS) for seed in range(60))])
def test_a_pattern_in_json_is_the_pattern(pattern: str) -> None:
    texts = {f'"{text}"': text for text in TEXTS}
    fits = accepted({"type": "string", "pattern": pattern}, [*texts])
    assert {texts[text] for text in fits} == {text for text in TEXTS if re.search(pattern, text)}


def test_several_patterns_and_those_of_names_keep_apart() -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"type": "string", "pattern": "^a(b(c){1,2})?$"}, "y": {"type": "string", "pattern": "^(a|b)+$"}},
        "required": ["x", "y"],
    }
    texts = [f'{{"x": "{x}", "y": "{y}"}}' for x in ("a", "ab", "abc", "ac", "abcc") for y in ("a", "ba", "c", "")]
    assert accepted(schema, texts) == {t for t in texts if re.fullmatch(r'\{"x": "a(bc{1,2})?", "y": "[ab]+"\}', t)}
    names = {"type": "object", "patternProperties": {"^x(y(z){1,2})?$": {"type": "null"}}, "additionalProperties": False}
    assert accepted(names, ['{"x": null}', '{"xyz": null}', '{"xz": null}', "{}"]) == {'{"x": null}', '{"xyz": null}', "{}"}


@pytest.mark.parametrize("char", [*"?*+.()[]{}|^$/-_=#@!%&;:,<>~` '", "é", "漢", "\U0001f600", "\x7f"])
def test_every_character_survives_being_spelled_as_a_rule(char: str) -> None:
    for pattern in (re.escape(char), f"[{re.escape(char)}]", f"(?:{re.escape(char)})?x"):
        assert f'"{char}x"' in accepted({"type": "string", "pattern": f"^{pattern}?x?$"}, [f'"{char}x"'])
    texts = [f'"{char}"', '"a"', f'"{char}{char}"']
    assert accepted({"type": "string", "pattern": f"^{re.escape(char)}$"}, texts) == {f'"{char}"'}


@pytest.mark.parametrize("value", ["Größe", "ße", "éa1", "\u00a0f 漢字a", 'ü"\\xdfe'])
def test_text_beyond_ascii_is_read_back_whatever_follows_it(value: str) -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"enum": [value]}, "é1": {"type": "string", "pattern": "^(a|ße)$"}},
        "required": ["x", "é1"],
        "additionalProperties": False,
    }
    texts = [f'{{"x": {json.dumps(value, ensure_ascii=False)}, "é1": "{rest}"}}' for rest in ("a", "ße", "ß", "\u0dfe")]
    assert accepted(schema, texts) == set(texts[:2])
