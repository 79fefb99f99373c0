"""The place that a text has reached in its constraint: paths in JSON, parts of patterns and rules, compared with `re`."""

from __future__ import annotations

import json
import random

import pytest
from small_constraints import EBNF, IP, SPECS

from workbench.types import GrammarSpec
from workbench.why.source_tree import read
from workbench.why.token.earley import Chart
from workbench.why.token.json_place import json_path, written_path
from workbench.why.token.place import find_place


@pytest.mark.parametrize(
    "text, path, key, in_string",
    [
        ("", ".", None, False),
        ("{", ".", "", False),
        ('{"na', ".", "na", True),
        ('{"name"', ".name", None, False),
        ('{"name": "a b', ".name", None, True),
        ('{"name": "a", ', ".", "", False),
        (r'{"name": "a\"}, ', ".name", None, True),
        ('{"a": {"b": [1, {"c": ', ".a.b[1].c", None, False),
        ('{"a": {"b": [1, {"c": 2}', ".a.b[1]", None, False),
        ('{"a": {"b": []}', ".a", None, False),
        ('[{"two words": tr', '[0]["two words"]', None, False),
        ('{"a": 1}', ".", None, False),
        (r'{"\u00e9": ', ".é", None, False),
    ],
)
def test_the_place_in_json_is_a_path(text: str, path: str, key: str | None, in_string: bool) -> None:
    steps, typed, inside = json_path(text)
    assert (written_path(steps), typed, inside) == (path, key, in_string)


def test_what_the_schema_says_of_the_place_is_shown_through_references() -> None:
    place = find_place(SPECS["json"], '{"name": "a", "kind": "cat", "tags": [3, ')
    assert place.schema == '{"type": "integer", "minimum": 3, "maximum": 5}'
    assert place.words == f"in .tags[1], which is {place.schema}"
    either = {"anyOf": [{"type": "object", "properties": {"a": {"type": "null"}}}, {"properties": {"a": {"const": 1}}}]}
    assert find_place(GrammarSpec("json_schema", json.dumps(either)), '{"a": ').schema == '{"type": "null"} or {"const": 1}'


@pytest.mark.parametrize(
    "pattern, text, parts",
    [
        (IP, "", ["25", "2", "[01]?", r"\d"]),
        ("ab+c", "ab", ["b+", "c"]),
        ("x(ab|cd)?y", "x", ["ab", "cd", "y"]),
        ("x(ab|cd)?y", "xc", ["cd"]),
        ("(?P<year>[0-9]{4})-(0[1-9]|1[0-2])", "2020-1", ["[0-2]"]),
        (r"[^\]a]{2,}\.$", "bc", [r"[^\]a]{2,}", r"\."]),
        (r"(?:a|)(?s:.)", "a", ["."]),
        ("a{,2}b{}", "", ["a{,2}", "b{}"]),
        ("(a*)*b", "aa", ["a*", "b"]),
        ("((a?){3}){2}b", "a", ["a?", "b"]),
    ],
)
def test_the_part_of_a_pattern_that_goes_on_is_known(pattern: str, text: str, parts: list[str]) -> None:
    place = find_place(GrammarSpec("regex", pattern), text)
    assert {pattern[low:high] for low, high in place.spans} == set(parts)


PATTERNS = [
    IP, "(a|b(a|b))b?", "(ab|ba){0,2}a?", "[^ab]?a", r"\w+-\d", "(a|ab)(c|bcd)(d*)", "(a*)*b", "((a{1,2}){2}){1,2}",
    "a{2}b{0}c{1,}", "(a|)+b", r"\x61\u0062[\d-]+", "x{,2}y", "(?:a.c|abd)", "[]a]+", "(?i:)a",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_chart_follows_exactly_the_beginnings_of_matches(pattern: str) -> None:
    """The result equals the partial match of the `regex` package."""
    partly = pytest.importorskip("regex").compile(pattern)
    draw = random.Random(pattern)
    for _ in range(200):
        chart, text = Chart(read("regex", pattern)), ""
        while len(text) < 8:
            char = draw.choice("abcd-.12x]y")
            fits = partly.fullmatch(text + char, partial=True) is not None
            assert chart.push(char) == fits, text + char
            if not fits:
                break
            text += char


def test_the_rules_of_a_grammar_are_named_from_root_inwards() -> None:
    place = find_place(SPECS["ebnf"], "ab B")
    assert place.rules == ("root", "name")
    assert place.words == "in the rule `name`, the part `[a-z]+`"
    assert [EBNF[low:high] for low, high in place.spans] == ["[a-z]+"]
    assert find_place(SPECS["ebnf"], "ab.").words == "at the end of the grammar"
    assert find_place(SPECS["ebnf"], "zz") is None


@pytest.mark.parametrize(
    "grammar, text, spelled",
    [
        ('root ::= root "+" num | num\nnum ::= [0-9]+', "1+2+", {"[0-9]+"}),
        ('root ::= "(" root ")" | ""', "((", {'"("', '")"'}),
        (r'root ::= ("\"" [^"\\]* "\""){2}', '"a', {r'[^"\\]*', r'"\""'}),
        ('root ::= a a a "x"\na ::= b | ""\nb ::= a | "y"', "y", {'"y"', '"x"'}),
    ],
)
def test_recursion_on_either_side_and_empty_rules_are_followed(grammar: str, text: str, spelled: set[str]) -> None:
    place = find_place(GrammarSpec("ebnf", grammar), text)
    assert {grammar[low:high] for low, high in place.spans} == spelled


@pytest.mark.parametrize(
    "kind, text", [("regex", "(?x) a b"), ("regex", "a(?=b)b"), ("ebnf", 'root ::= "a" (="b") "b"'), ("ebnf", "x")]
)
def test_what_is_not_read_has_no_place(kind, text: str) -> None:
    assert find_place(GrammarSpec(kind, text), "a") is None
