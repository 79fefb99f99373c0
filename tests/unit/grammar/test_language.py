"""Languages as automata: patterns compared with `re`, numbers with exact arithmetic, and combinations with both."""

# ruff: noqa: E501  (tables of data)
from __future__ import annotations

import itertools
import random
import re
from decimal import Decimal

import pytest

from workbench.grammar.ecma import NotRegular
from workbench.grammar.effort import OutOfEffort, TooLarge, effort
from workbench.grammar.language import Language, all_but, everything, lengths, words
from workbench.grammar.pattern import BadPattern, pattern_language
from workbench.grammar.schema.numbers import between, decimals, equal_to, multiples

PATTERNS = [
    r"\S", "^https?://", "^[a-z]{2,5}$", r"^(?=.*\d)(?=.*[a-z]).{4,8}$", "^(?!foo)[a-z]+$", "a|^b|c$", "^(a|b)?c{0,3}$",
    "(^|,)x(,|$)", r"[^\d]", r"^[\w.-]+@[a-z]+\.com$", "^$", "", "^.*$", "(?i)^yes$", "x{2,}$", "^[^/]+/[^/]+$", "^(?:ab|a)*b$",
    r"^((25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)\.){3}(25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)$", "(?!a)b", "^(?:(?=ab)a|c)b?$",
]  # fmt: skip
USUAL = ["https://a", "ab,x", "1a2b", "food", "foo", "yes", "YES", "x,", "abcd1", "1.2.3.4", "255.255.255.255", "256.1.1.1", "ab"]


def drawn(draw: random.Random) -> str:
    return (
        draw.choice(USUAL)
        if draw.random() < 0.3
        else "".join(draw.choices("abcxyfo,@.m/0129- \n\u00e9\u0663YES", k=draw.randrange(9)))
    )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_takes_only_what_re_finds_and_generously_all_of_it(pattern: str) -> None:
    surely, perhaps = pattern_language(pattern), pattern_language(pattern, generous=True)
    draw = random.Random(pattern)
    for text in (drawn(draw) for _ in range(600)):
        is_found = re.search(pattern, text) is not None
        assert not surely.accepts(text) or is_found, text
        if not text.endswith("\n"):  # `$` of Python matches before it too
            assert perhaps.accepts(text) or not is_found, text
        if text.isascii() and "\n" not in text:
            assert surely.accepts(text) == is_found, text


@pytest.mark.parametrize(
    "ecma, texts, others",
    [
        (r"^\p{L}+$", ["aé", "漢"], ["1", ""]), (r"^\P{L}$", ["1"], ["a"]), ("^(?<year>[0-9]{4})$", ["2024"], ["24"]), (r"^\/\-$", ["/-"], ["\\\\"]),
        ("^[^]$", ["\n"], [""]), ("a[]", [], ["a"]), (r"^\u{1F600}$", ["\U0001f600"], ["u"]), (r"^[\p{Lu}_]$", ["A", "_"], ["a"]), (r"^\cA$", ["\x01"], ["A"]),
    ],
)  # fmt: skip
def test_what_only_ecma_writes_is_read(ecma: str, texts: list[str], others: list[str]) -> None:
    language = pattern_language(ecma)
    assert all(map(language.accepts, texts))
    assert not any(map(language.accepts, others))


def test_what_no_automaton_holds_is_named() -> None:
    for pattern, named in (
        (r"(a)\1", "a reference"),
        (r"\bword", "word boundary"),
        ("(?<=a)b", "back"),
        (r"(?:(?=a)b)*", "inside a rep"),
    ):
        with pytest.raises(NotRegular, match=named):
            pattern_language(pattern)
    with pytest.raises(BadPattern):
        pattern_language("(")
    with pytest.raises(TooLarge):
        pattern_language("^(?:a|b)*a(?:a|b){20}$")
    with pytest.raises(TooLarge):
        lengths(0, 10_000)
    with pytest.raises(OutOfEffort), effort(1000):
        pattern_language("^[a-z]{0,3000}$")


TEXTS = ["".join(chars) for n in range(6) for chars in itertools.product("ab", repeat=n)]


def random_language(draw: random.Random) -> Language:
    kind = draw.randrange(4)
    if kind == 0:
        return words(draw.sample(TEXTS, 4))
    if kind == 1:
        return all_but(draw.sample(TEXTS, 4))
    if kind == 2:
        return lengths(draw.randrange(3), draw.choice([None, 3, 4]))
    return pattern_language(draw.choice(["^a*b", "ab$", "^(?:ab|b)*$", "aa|bb"]))


@pytest.mark.parametrize("seed", range(40))
def test_what_is_made_of_two_languages_holds_what_it_says(seed: int) -> None:
    draw = random.Random(seed)
    a, b = random_language(draw), random_language(draw)
    for text in TEXTS:
        x, y = a.accepts(text), b.accepts(text)
        assert [(a & b).accepts(text), (a | b).accepts(text), (a - b).accepts(text), (~a).accepts(text)] == [
            x and y,
            x or y,
            x and not y,
            not x,
        ]
    assert ((a - b) & b).is_empty
    assert ((a | b) | ~(a | b)).is_everything
    assert everything().is_everything
    assert not (a - a).moves(0)


def test_the_words_of_a_language_are_listed_where_they_are_few() -> None:
    assert words(["b", "", "ab"]).words(10) == ["", "b", "ab"]
    assert pattern_language("^a{1,3}$").words(10) == ["a", "aa", "aaa"]
    assert pattern_language("^a*$").words(10) is None


def test_mere_lengths_are_known_as_such() -> None:
    assert [lengths(*pair).counts for pair in ((0, None), (2, 5), (3, None), (0, 0))] == [(0, None), (2, 5), (3, None), (0, 0)]
    assert pattern_language("^a*$").counts is pattern_language("^(?:..)*$").counts is None


def spelled(draw: random.Random) -> str:
    whole = draw.choice([0, 1, 5, 9, 10, 12, 99, 100, 105, draw.randrange(3000)])
    fraction = draw.choice(["", "", ".0", ".5", ".05", ".50", ".25", ".125", ".99", ".001", ".10"])
    return f"{'-' if draw.random() < 0.5 and (whole or fraction.strip('.0')) else ''}{whole}{fraction}"


@pytest.mark.parametrize("seed", range(60))
def test_numbers_between_bounds_are_those_that_arithmetic_says(seed: int) -> None:
    draw = random.Random(seed)
    low, high = (Decimal(spelled(draw)) if draw.random() < 0.7 else None for _ in range(2))
    low_open, high_open, is_integer = (draw.random() < 0.5 for _ in range(3))
    language = between(low, high, low_open, high_open, is_integer)
    for text in (spelled(draw) for _ in range(200)):
        x = Decimal(text)
        above = low is None or x > low or (x == low and not low_open)
        below = high is None or x < high or (x == high and not high_open)
        assert language.accepts(text) == (above and below and not (is_integer and "." in text)), (low, high, text)


@pytest.mark.parametrize("of", ["5", "100", "0.01", "2.5", "0.25", "7", "1e2", "1", "12"])
def test_multiples_are_those_that_arithmetic_says(of: str) -> None:
    draw = random.Random(of)
    for is_integer in (True, False):
        language = multiples(Decimal(of), is_integer)
        for text in (spelled(draw) for _ in range(400)):
            is_spelled = not (is_integer and "." in text)
            assert language.accepts(text) == (is_spelled and Decimal(text) % Decimal(of) == 0), text
            assert (decimals(is_integer) - equal_to([Decimal(of)])).accepts(text) == (is_spelled and Decimal(text) != Decimal(of))
