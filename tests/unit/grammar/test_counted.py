"""A language as another one and a length that is counted beside it."""

from __future__ import annotations

import itertools

import pytest

from workbench.grammar.counted import without_count
from workbench.grammar.language import Language, all_but, lengths
from workbench.grammar.pattern import pattern_language


def texts(most: int) -> list[str]:
    return ["".join(chars) for n in range(most + 1) for chars in itertools.product("ab-", repeat=n)]


@pytest.mark.parametrize(
    "pattern, length",
    [
        ("^[ab]{0,5}$", 5), ("^[ab]{3,5}$", 5), ("^a[ab]{1,4}$", 5), ("^(a|b)-?$", 2), ("^(ab|ba)[a-]{0,3}$", 5), ("^.{2,6}$", 6),
        ("^-[a-z]{0,2}$", 3),
    ],
)  # fmt: skip
def test_the_texts_are_those_of_the_other_language_up_to_the_length(pattern: str, length: int) -> None:
    language = pattern_language(pattern)
    found = without_count(language)
    assert found is not None
    assert found[1] == length
    assert len(found[0].rows) < len(language.rows)
    for text in texts(7):
        assert language.accepts(text) == (found[0].accepts(text) and len(text) <= length), text


@pytest.mark.parametrize(
    "language",
    [
        pattern_language("^(ab|b)[a-]{0,3}$"), pattern_language("^a*$"), pattern_language("^(a{2}){0,3}$"),
        pattern_language("^ab$"), pattern_language("^a*b{0,4}$"), pattern_language("^(aaaaaaa|b-{0,2})$"),
        lengths(2, None), all_but(["ab"]),
    ],
)  # fmt: skip
def test_there_is_no_such_pair_where_the_length_depends_on_the_way(language: Language) -> None:
    assert without_count(language) is None
