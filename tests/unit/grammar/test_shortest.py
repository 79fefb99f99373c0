"""A grammar without an end, or with none within reach, is refused before forced text is computed."""

from __future__ import annotations

import json

import pytest

from workbench.errors import InvalidRequest
from workbench.grammar import Vocabulary, compile_grammar
from workbench.grammar.matcher import MAX_FORCED
from workbench.types import GrammarSpec

LIST = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}, "additionalProperties": False}
TAG = {"structures": [{"begin": "<a>", "schema": LIST | {"required": ["v", "next"]}, "end": "</a>"}], "triggers": ["<a"]}
CONTRADICTORY = {"type": "array", "items": {"type": "string", "minLength": 3, "maxLength": 2}, "minItems": 1}
ENDLESS = {
    "itself": ("ebnf", 'root ::= "a" root', "its rule `root` has none"),
    "nothing but itself": ("ebnf", "root ::= root", "its rule `root` has none"),
    "one alternative": ("ebnf", 'root ::= "x" | "a" b\nb ::= "c" d | d{2}\nd ::= "d"? b', "its rule `b` has none"),
    "lark": ("grammar", 'start: "x" | a\na: "b" a', "its rule `a` has none"),
    "schema": ("json_schema", json.dumps(LIST | {"required": ["next"]}), "json_schema has no value.*\n.*requires itself"),
    "references": ("json_schema", '{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}', "does not refer to itself"),
    "contradiction": ("json_schema", json.dumps(CONTRADICTORY), r"json_schema\.items has no value.*\n.*contradict"),
    "tag": ("structural_tag", json.dumps(TAG), "json_schema has no value.*\n.*requires itself"),
}  # fmt: skip
FAR = {
    "counts": ("ebnf", "root ::= a{100}\na ::= b{100}\nb ::= c{100}\nc ::= [x]{100}", "`root` has 100,000,000"),
    "regex": ("regex", "(((a{100}){100}){100}){100}", "at most 131,072 bytes of fixed text"),
    "around itself": ("ebnf", 'root ::= "x" root "b"{5000} | "y"', "at most 4,096 bytes .* `root` has 5,00"),
    "around another": ("ebnf", 'root ::= "x" b | "y"\nb ::= "b"{5000} root "c"', "at most 4,096 bytes"),
    "items": ("json_schema", '{"type": "array", "items": {"type": "boolean"}, "minItems": 1000000}', "at most 4,096 items"),
}


@pytest.mark.process
@pytest.mark.parametrize("name", [*ENDLESS, *FAR])
def test_text_without_an_end_in_reach_is_refused_and_the_rule_named(name: str, vocabulary: Vocabulary) -> None:
    kind, text, told = (ENDLESS | FAR)[name]
    with pytest.raises(InvalidRequest, match=rf"(?s)^{kind}\S* .*is .* it must be .*{told}"):
        compile_grammar(GrammarSpec(kind, text), vocabulary)


@pytest.mark.process
@pytest.mark.parametrize(
    "kind, text",
    [
        ("json_schema", json.dumps(LIST)), ("ebnf", 'root ::= "x" | root "y" | "a" root "b"'), ("ebnf", 'root ::= a*\na ::= ""'),
        ("ebnf", 'root ::= "b"{5000} | "c"'), ("regex", "(?:[a-z]{5000};)+"), ("ebnf", 'root ::= "a"{0}'),
        ("json_schema", json.dumps({"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}, "minItems": 1}]})),
    ],
)  # fmt: skip
def test_what_has_an_end_is_not_refused(kind: str, text: str, vocabulary: Vocabulary) -> None:
    assert compile_grammar(GrammarSpec(kind, text), vocabulary).start().num_allowed


@pytest.mark.process
@pytest.mark.parametrize("backend", ["xgrammar", "outlines"])
def test_a_long_stretch_is_told_in_parts(backend: str, vocabulary: Vocabulary) -> None:
    matcher = compile_grammar(GrammarSpec("regex", "(?:ab){5000}c"), vocabulary, backend).start()
    whole = b""
    while forced := matcher.forced():
        assert len(forced) <= MAX_FORCED
        assert matcher.accept_bytes(forced) == len(forced)
        whole += forced
    assert whole == b"ab" * 5000 + b"c"
    assert matcher.is_finished
