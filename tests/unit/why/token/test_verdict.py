"""The judgement of a token and of a text agrees with masks, and the expected characters with the language."""

from __future__ import annotations

import itertools
import random
import re

import numpy as np
import pytest
from small_constraints import SPECS

from workbench.errors import InvalidRequest
from workbench.grammar import Vocabulary, compile_grammar
from workbench.types import GrammarSpec
from workbench.why.token.next_characters import next_characters
from workbench.why.token.verdict import allowed_tokens, judge, nearest


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
        told = next_characters(matcher)
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
