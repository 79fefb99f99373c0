"""Why and where: the answers agree with masks, with `re` and with what one sees in the text."""

from __future__ import annotations

import itertools
import json
import random
import re

import numpy as np
import pytest

from workbench.errors import InvalidRequest
from workbench.grammar import Vocabulary, compile_grammar
from workbench.grammar.syntax import read
from workbench.types import GrammarSpec
from workbench.why.chart import Chart
from workbench.why.expected import expected
from workbench.why.location import find_place, json_path, written_path
from workbench.why.token import allowed_tokens, judge, nearest

IP = r"((25[0-5]|2[0-4]\d|[01]?\d\d?)\.){3}(25[0-5]|2[0-4]\d|[01]?\d\d?)"
PET = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "kind": {"enum": ["cat", "dog"]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1, "maxItems": 2},
        "home": {"type": "object", "properties": {"zip code": {"type": "integer"}}, "required": ["zip code"]},
    },
    "required": ["name", "kind", "tags", "home"],
    "$defs": {"tag": {"type": "integer", "minimum": 3, "maximum": 5}},
}
EBNF = 'root ::= greeting (" " name)? "."\ngreeting ::= "ab" | "ba"\nname ::= [A-C] [a-z]+  # one word\n'
SPECS = {
    "regex": GrammarSpec("regex", IP),
    "words": GrammarSpec("regex", '(ab|ba){1,3}"é?漢'),
    "wide": GrammarSpec("regex", "[^a漢]{2}b"),
    "json": GrammarSpec("json_schema", json.dumps(PET)),
    "ebnf": GrammarSpec("ebnf", EBNF),
}


def words(spec: GrammarSpec, vocabulary: Vocabulary, before: str, data: str = "") -> tuple[str, ...]:
    return judge(spec, compile_grammar(spec, vocabulary), before.encode(), data.encode()).words


@pytest.mark.parametrize("name", SPECS)
def test_every_token_is_judged_as_the_mask_has_it(name: str, vocabulary: Vocabulary) -> None:
    spec, spelled, draw = SPECS[name], vocabulary.pieces, random.Random(name)
    grammar = compile_grammar(spec, vocabulary)
    for _ in range(4):
        matcher, before = grammar.start(), b""
        for _ in range(12):
            mask = np.zeros(-(-vocabulary.size // 32), dtype=np.int32)
            matcher.fill_mask(mask)
            allowed = {i for i in range(vocabulary.size) if mask[i // 32] >> (i % 32) & 1}
            assert allowed_tokens(grammar, vocabulary, before) == allowed
            for i, data in enumerate(spelled):
                if data:
                    assert (matcher.fork().accept_bytes(data) == len(data)) == (i in allowed), (before, data)
            choices = sorted(i for i in allowed if spelled[i])
            if not choices:
                break
            token = draw.choice(choices)
            matcher.accept(token)
            before += spelled[token]


@pytest.mark.parametrize("pattern", [r"a?b{1,2}", r"(ab|ba){0,2}a?", "[ab]{3}", "aab|ab|b", "(a|b(a|b))b?"])
def test_expected_characters_are_those_that_the_language_goes_on_with(pattern: str, vocabulary: Vocabulary) -> None:
    language = [t for n in range(8) for t in map("".join, itertools.product("ab", repeat=n)) if re.fullmatch(pattern, t)]
    for text in sorted({whole[:k] for whole in language for k in range(len(whole) + 1)}):
        matcher = compile_grammar(GrammarSpec("regex", pattern), vocabulary).start()
        matcher.accept_bytes(text.encode())
        told = expected(matcher)
        rests = [whole[len(text) :] for whole in language if whole.startswith(text)]
        assert told.characters == {rest[0] for rest in rests if rest}
        assert told.is_end == (text in language)
        assert not told.has_others
        for continuation in told.texts:
            assert any(rest.startswith(continuation) for rest in rests)


@pytest.mark.parametrize(
    "pattern, before, data, said",
    [
        ("[0-9]+", "", "x", ["0-9"]),
        ("[0-9]+", "1", "x", ["0-9", "the end of the text"]),
        ("(Paris|London)!", "", "B", ['"London!"', '"Paris!"']),
        ("[a-zA-Z_ ]+", "", "5", ["a space", "A-Z", '"_"', "a-z"]),
        ('[^"]+', "", '"', ["any character except '\"'"]),
        ("[^é]x", "", "é", ['any character except "é"']),
        ("[é-ü]x", "", "a", ["é-ü"]),
        (r".\S", "", "\n", ["any character except a newline"]),
        (r"[\x20-\x7e]x", "", "\n", ["any ASCII character except a newline"]),
        ("漢|é|èe", "", "ê", ['"èe"', '"é"', '"漢"']),
        (r"a\n", "a", "b", ["a newline"]),
    ],
)
def test_what_is_expected_is_said_in_whole_characters(pattern, before, data, said, vocabulary: Vocabulary) -> None:
    spec = GrammarSpec("regex", pattern)
    assert list(words(spec, vocabulary, before, data)) == said


def test_a_text_that_the_constraint_does_not_begin_with_is_refused(vocabulary: Vocabulary) -> None:
    with pytest.raises(InvalidRequest, match=r"only 'a' is"):
        words(GrammarSpec("regex", "a[bc]"), vocabulary, "ax")


def test_the_byte_is_told_at_which_a_token_breaks(vocabulary: Vocabulary) -> None:
    spec = GrammarSpec("regex", "abé!")
    grammar = compile_grammar(spec, vocabulary)
    for data, fit in (("abc", 2), ("abê", 3), ("abé!", 5), ("abé?", 4), ("x", 0)):
        verdict = judge(spec, grammar, b"", data.encode())
        assert verdict.num_fit == fit
        assert verdict.is_complete == (data == "abé!")
    half = judge(spec, grammar, b"ab\xc3", b"\xaa")
    assert (half.num_fit, half.words) == (0, ('"é!"',)), "the character that was begun counts as a whole"
    assert judge(spec, grammar, b"ab", b"\xc3").words == ('"é!"',)


def test_the_nearest_tokens_share_the_longest_beginning(vocabulary: Vocabulary) -> None:
    spec = GrammarSpec("regex", "(aab|ab|ba|12)0*")
    allowed = allowed_tokens(compile_grammar(spec, vocabulary), vocabulary, b"")
    near = [vocabulary.pieces[i].decode() for i in nearest(vocabulary, allowed, b"aax")]
    assert near[0] == "aab"
    assert set(near[:3]) == {"aab", "ab", "a"}
    assert all(i in allowed for i in nearest(vocabulary, allowed, b"<s>"))


# ---- places ----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "before, data, said, path",
    [
        ("", "[", ("'{\"name\"'",), "."),
        ("{", '"kind', ('the key "name"',), "."),
        ('{"na', "x", ('the key "name"',), "."),
        ('{"name": "rex", "kind": "', "pig", ('"cat"', '"dog"'), ".kind"),
        ('{"name": "rex", "kind": "', "cow", ('"at"',), ".kind"),
        ('{"name": "rex", "kind": "cat", "tags": [', "9", ('"3"', '"4"', '"5"'), ".tags[0]"),
        ('{"name": "rex", "kind": "cat", "tags": [3], "home": {"zip code": ', "x", ('"-"', "0-9"), '.home["zip code"]'),
        ('{"name": "rexxx', "x", ("'\"'",), ".name"),
        ('{"name": "rex", "kind": "cat", "tags": [3], "home": {"zip code": 1}}', " ", ("the end of the text",), "."),
    ],
)
def test_in_json_keys_values_and_the_path_are_named(before, data, said, path, vocabulary: Vocabulary) -> None:
    spec = SPECS["json"]
    verdict = judge(spec, compile_grammar(spec, vocabulary), before.encode(), data.encode())
    assert verdict.words == said
    assert verdict.place.path == path


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
    """Compared with the `regex` package's own idea of a beginning."""
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
