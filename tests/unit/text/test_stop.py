"""Stop strings: the one complete first wins, no part of it is sent, and the cut into pieces does not matter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.text.stop import StopFinder


def read(pieces: list[str], stops: tuple[str, ...]) -> tuple[str, str | None]:
    finder = StopFinder(stops)
    text = ""
    for piece in pieces:
        text += finder.push(piece)
        if finder.matched is not None:
            return text, finder.matched
    return text + finder.finish(), None


@pytest.mark.parametrize(
    "pieces, stops, text, matched",
    [
        (["hello", " wor", "ld"], ("world",), "hello ", "world"),
        (["hello wor", "n"], ("world",), "hello worn", None),
        (["a\n", "\nb"], ("\n\n",), "a", "\n\n"),
        (["xabcd"], ("abcd", "bc"), "xa", "bc"),
        (["x", "a", "b", "c", "d"], ("abcd", "bc"), "xa", "bc"),
        (["xabc"], ("bc", "abc"), "x", "abc"),
        (["aab"], ("ab",), "a", "ab"),
        (["aaa", "ab"], ("aab",), "aa", "aab"),
        (["stop"], ("stop",), "", "stop"),
        ([".*"], (".*", "[a]"), "", ".*"),
    ],
)
def test_examples(pieces: list[str], stops: tuple[str, ...], text: str, matched: str | None) -> None:
    assert read(pieces, stops) == (text, matched)


@given(
    pieces=st.lists(st.text("ab", max_size=4), max_size=12),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3).map(tuple),
)
def test_cutting_into_pieces_changes_nothing(pieces: list[str], stops: tuple[str, ...]) -> None:
    assert read(pieces, stops) == read(list("".join(pieces)), stops)


def test_only_a_possible_beginning_is_held_back() -> None:
    finder = StopFinder(("<end>",))
    assert finder.push("text <e") == "text "
    assert finder.push("x <") == "<ex "
    assert finder.finish() == "<"
