"""Sets of characters as sorted, disjoint, inclusive ranges of code points."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from array import array
from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]

MARK = 0x10FFFF
"""The last code point, which no text should hold, is never generated: a backend marks the end of a text with it."""
EVERYTHING: Ranges = ((0, 0xD7FF), (0xE000, MARK - 1))
"""Every character that a text may hold; halves of characters (surrogates) are none."""
DIGITS: Ranges = ((48, 57),)
SPACES: Ranges = ((9, 13), (32, 32))
WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
LINE_ENDS: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))


def union(*sets: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges in any order, overlapping or not, as one set."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(range_ for set_ in sets for range_ in set_):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def without(ranges: Iterable[tuple[int, int]], removed: Iterable[tuple[int, int]]) -> Ranges:
    """The code points of `ranges` (sorted, disjoint) that no range of `removed` (in any order) holds."""
    holes = union(removed)
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


def complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    return without(EVERYTHING, ranges)


def intersection(ranges: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> Ranges:
    return without(ranges, without(((0, MARK),), others))


@functools.cache
def matching(pattern: str) -> Ranges:
    """Every character that a regular expression for one character matches in Python, such as `\\d`. Takes some 30 ms, once."""
    found = re.finditer(f"(?:{pattern})+", _all_characters())
    return intersection(tuple((ord(run[0][0]), ord(run[0][-1])) for run in found), EVERYTHING)


@functools.cache
def _all_characters() -> str:
    return array("I", range(MARK)).tobytes().decode(f"utf-32-{sys.byteorder[0]}e", "surrogatepass")


@functools.cache
def with_category(name: str) -> Ranges | None:
    """The characters of a general category of Unicode (`L`, `Lu`, ...), or None if there is none of that name."""
    found: list[tuple[int, int]] = []
    for code, category in enumerate(_categories()):
        if category.startswith(name):
            if found and found[-1][1] == code - 1:
                found[-1] = (found[-1][0], code)
            else:
                found.append((code, code))
    return intersection(tuple(found), EVERYTHING) if found else None


@functools.cache
def _categories() -> tuple[str, ...]:
    return tuple(unicodedata.category(chr(code)) for code in range(MARK))


def both_cases(ranges: Ranges, *, generous: bool) -> Ranges:
    """With the other case of each character; `generous` adds what merely folds to one of them, as U+212A to k."""
    if sum(high - low for low, high in ranges) > 4096:
        return ranges if generous else intersection(ranges, ranges)
    added = set()
    for low, high in ranges:
        for char in map(chr, range(low, high + 1)):
            others = {char.lower(), char.upper()}
            if generous:
                others |= {"\u212a"} if char in "kK" else {"\u017f"} if char in "sS" else set()
            added |= {other for other in others if len(other) == 1}
    return union(ranges, *(((ord(char), ord(char)),) for char in added))
