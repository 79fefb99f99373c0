"""Sets of characters as ranges of code points: backslash classes, Unicode properties, and letters in both cases."""

from __future__ import annotations

import functools
import itertools
import re
import sys
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from re import _casefix  # type: ignore[attr-defined]
from typing import TypeVar

T = TypeVar("T")
Ranges = tuple[tuple[int, int], ...]
"""Sorted, disjoint, inclusive ranges of code points."""

MARK = 0x10FFFF
"""Last code point. It is never generated, since no text should hold it: backends mark the end of a text with it."""
EVERYTHING: Ranges = ((0, 0xD7FF), (0xE000, MARK - 1))
LAST_CASED = 0x20000
"""Code point above which no script has capitals."""
DIGITS: Ranges = ((48, 57),)
SPACES: Ranges = ((9, 13), (32, 32))
LINE_ENDS: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
ASCII_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
LONG_NAMES = {
    "Letter": "L", "Uppercase_Letter": "Lu", "Lowercase_Letter": "Ll", "Titlecase_Letter": "Lt", "Modifier_Letter": "Lm",
    "Other_Letter": "Lo", "Cased_Letter": "LC", "Mark": "M", "Nonspacing_Mark": "Mn", "Spacing_Mark": "Mc",
    "Enclosing_Mark": "Me", "Number": "N", "Decimal_Number": "Nd", "Letter_Number": "Nl", "Other_Number": "No",
    "Punctuation": "P", "Connector_Punctuation": "Pc", "Dash_Punctuation": "Pd", "Open_Punctuation": "Ps",
    "Close_Punctuation": "Pe", "Initial_Punctuation": "Pi", "Final_Punctuation": "Pf", "Other_Punctuation": "Po",
    "Symbol": "S", "Math_Symbol": "Sm", "Currency_Symbol": "Sc", "Modifier_Symbol": "Sk", "Other_Symbol": "So",
    "Separator": "Z", "Space_Separator": "Zs", "Line_Separator": "Zl", "Paragraph_Separator": "Zp", "Other": "C",
    "Control": "Cc", "Format": "Cf", "Private_Use": "Co", "Unassigned": "Cn",
}  # fmt: skip
"""Long names of general categories. ECMAScript accepts them beside the short ones."""


def without(ranges: Iterable[tuple[int, int]], removed: Iterable[tuple[int, int]]) -> Ranges:
    """Returns the code points of `ranges` (sorted, disjoint) that are in no range of `removed` (in any order)."""
    holes = sorted(removed)
    kept = []
    for low, high in ranges:
        for first, last in holes:
            if last < low or first > high:
                continue
            if first > low:
                kept.append((low, first - 1))
            low = max(low, last + 1)
        if low <= high:
            kept.append((low, high))
    return tuple(kept)


def union(*sets: Iterable[tuple[int, int]]) -> Ranges:
    """Returns one set from ranges in any order, overlapping or not."""
    return _joined(sets)


def complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    return without(EVERYTHING, ranges)


def intersection(ranges: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> Ranges:
    """Returns the code points that are in both sets (sorted, disjoint)."""
    return without(ranges, without(((0, MARK),), others))


@functools.cache
def matching(pattern: str) -> Ranges:
    """Returns every character that a Python regular expression for one character matches, such as `\\d`."""
    found = re.finditer(f"(?:{pattern})+", _all_characters())
    return intersection(tuple((ord(run[0][0]), ord(run[0][-1])) for run in found), EVERYTHING)


@functools.cache
def _all_characters() -> str:
    return array("I", range(MARK)).tobytes().decode(f"utf-32-{sys.byteorder[0]}e", "surrogatepass")


def of_property(name: str) -> Ranges | None:
    """Returns the characters of `\\p{name}`: a general category, `Any` or `ASCII`. Returns None for other properties
    (scripts)."""
    name = name.removeprefix("gc=").removeprefix("General_Category=")
    name = LONG_NAMES.get(name, name)
    whole = {"Any": EVERYTHING, "ASCII": ((0, 0x7F),)}
    if name in whole:
        return whole[name]
    found = {"Lu", "Ll", "Lt"} if name in ("LC", "L&") else {key for key in _categories() if name and key.startswith(name)}
    return _joined(_categories()[key] for key in found) if found else None


@functools.cache
def _categories() -> dict[str, Ranges]:
    found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for name, run in _runs(unicodedata.category):
        found[name].append(run)
    return {name: tuple(runs) for name, runs in found.items()}


def ignoring_case(ranges: Iterable[tuple[int, int]], *, ascii_only: bool) -> Ranges:
    """Returns the ranges with every character that `re.IGNORECASE` treats as equal to one of theirs."""
    given = sorted(ranges)
    others = (group for code, group in _same_but_for_case(ascii_only).items() if any(low <= code <= high for low, high in given))
    return _joined([given, *([(code, code) for code in group] for group in others)])


@functools.cache
def _same_but_for_case(ascii_only: bool) -> dict[int, tuple[int, ...]]:
    """Returns the characters that differ from others only in case, each with its whole group."""
    groups: defaultdict[int, set[int]] = defaultdict(set)
    for code in range(0x80 if ascii_only else LAST_CASED):
        lowered = ord(chr(code).lower()[0])
        if lowered != code:
            groups[lowered] |= {lowered, code}
    for code in () if ascii_only else _casefix._EXTRA_CASES:
        for other in _casefix._EXTRA_CASES[code]:
            groups[code] |= {code, other, *groups[other]}
    return {code: tuple(sorted(group)) for group in groups.values() for code in group}


def _runs(kind: Callable[[str], T]) -> Iterator[tuple[T, tuple[int, int]]]:
    """Yields all characters in order as ranges, adjacent ones of one kind together. Takes a tenth of a second."""
    for found, run in itertools.groupby(range(0x110000), lambda code: kind(chr(code))):
        codes = list(run)
        yield found, (codes[0], codes[-1])


def _joined(sets: Iterable[Iterable[tuple[int, int]]]) -> Ranges:
    """Returns the union, sorted and disjoint."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(itertools.chain(*sets)):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], high)
        else:
            found.append((low, high))
    return tuple(found)
