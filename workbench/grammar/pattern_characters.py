"""Characters that a part of a regular expression matches, in the dialects of ECMA-262 and of Python."""

from __future__ import annotations

import re
from re import _constants as op  # type: ignore[attr-defined]
from typing import Any

from workbench.grammar.charsets import (
    ASCII_WORD,
    DIGITS,
    EVERYTHING,
    LINE_ENDS,
    SPACES,
    Ranges,
    complement,
    ignoring_case,
    intersection,
    matching,
    union,
)
from workbench.grammar.ecma import NotRegular


def characters(kind: Any, value: Any, flags: int, *, generous: bool) -> Ranges:
    """Returns the characters that one item of Python's parser matches in both dialects; with `generous` in either."""
    if kind is op.ANY:
        return EVERYTHING if flags & re.DOTALL else complement(((10, 10),) if generous else LINE_ENDS)
    items = value if kind is op.IN else [(op.LITERAL, value)]
    negated = kind is op.NOT_LITERAL or (kind is op.IN and items[0][0] is op.NEGATE)
    generous = generous != negated
    parts = [_member(kind, value, generous, flags) for kind, value in items if kind is not op.NEGATE]
    ranges = union(*parts)
    if flags & re.IGNORECASE:
        ranges = ignoring_case(ranges, ascii_only=not generous)
    return complement(ranges) if negated else intersection(ranges, EVERYTHING)


def _member(kind: Any, value: Any, generous: bool, flags: int) -> Ranges:
    if kind is op.LITERAL:
        return ((value, value),)
    if kind is op.RANGE:
        return (value,)
    if kind is not op.CATEGORY:
        raise NotRegular(str(kind).lower())
    positive = value in _CLASSES
    ascii_part, python = _CLASSES[value if positive else _OPPOSITE[value]]
    if positive == generous:  # the larger of the two
        ranges = union(ascii_part, () if flags & re.ASCII else matching(python))
    else:
        ranges = ascii_part
    return ranges if positive else complement(ranges)


# Class -> its ASCII part, and an expression for all characters that Python counts as it (ECMA's white space too).
_CLASSES: dict[Any, tuple[Ranges, str]] = {
    op.CATEGORY_DIGIT: (DIGITS, r"\d"),
    op.CATEGORY_SPACE: (SPACES, r"[\s\ufeff]"),
    op.CATEGORY_WORD: (ASCII_WORD, r"\w"),
}
_OPPOSITE = {
    op.CATEGORY_NOT_DIGIT: op.CATEGORY_DIGIT,
    op.CATEGORY_NOT_SPACE: op.CATEGORY_SPACE,
    op.CATEGORY_NOT_WORD: op.CATEGORY_WORD,
}
