"""Regular expressions with the meaning of Python's `re.fullmatch`, whatever dialect the backend reads.

A pattern is parsed by Python itself and rewritten in the few constructs that all dialects share: character classes, groups,
alternatives and greedy counts. A construct that a finite automaton cannot express is refused by name.

Backslash classes generate their ASCII members: `\\d` gives 0-9. A negated class excludes all of its Unicode members: `[^\\w]`
generates no letter of any script. Case is treated in the same way: `(?i:k)` gives k and K, not the kelvin sign. In both cases
`re.fullmatch` accepts the text.

Three spellings of ECMAScript that Python does not have are read too: `\\p{L}`, `(?<name>...)` and `\\u{1f600}`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar.charsets import (
    ASCII_WORD,
    DIGITS,
    EVERYTHING,
    MARK,
    SPACES,
    Ranges,
    ignoring_case,
    matching,
    without,
)
from workbench.grammar.ecma import NotRegular, python_pattern

IN_JSON_STRINGS: Ranges = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, MARK - 1))
"""Characters that a JSON string holds without escapes."""

REFUSED = {
    op.ASSERT: "lookahead and lookbehind",
    op.ASSERT_NOT: "negative lookahead and lookbehind",
    op.GROUPREF: "references to groups",
    op.GROUPREF_EXISTS: "conditions on groups",
    op.POSSESSIVE_REPEAT: "possessive repetition",
    op.ATOMIC_GROUP: "atomic groups",
}
SHORT_COUNTS = {(0, op.MAXREPEAT): "*", (1, op.MAXREPEAT): "+", (0, 1): "?"}
MAX_DEPTH = 100
"""Largest depth of nested groups. Python's parser takes several frames for each, and a kernel's stack is already deep."""
NO_GROUPS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""Escapes and character classes: parentheses inside open no group."""
START, END = {op.AT_BEGINNING, op.AT_BEGINNING_STRING}, {op.AT_END, op.AT_END_STRING}


def plain_regex(pattern: str, *, field: str = "regex", allowed: Ranges = EVERYTHING) -> str:
    """Writes `pattern` in the shared constructs, over `allowed` characters. The result matches nothing that `re.fullmatch` does
    not.

    Raises InvalidRequest for an invalid regular expression, NotSupported for one that cannot be enforced.
    """
    if _depth(pattern) > MAX_DEPTH:
        raise InvalidRequest(field, pattern, f"a regular expression with at most {MAX_DEPTH} groups inside each other")
    try:
        tree = parsed(pattern, field)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidRequest(field, pattern, f"a regular expression ({error})") from None
    return _Writer(field, tree.state.flags, allowed).sequence(tree, start=True, end=True)


def is_whole(pattern: str) -> bool:
    """Returns whether anchors tie the pattern to the whole text, also in a search. Returns True if it cannot be parsed."""
    try:
        tree = parsed(pattern)
    except (re.error, RecursionError, OverflowError, NotSupported):
        return True
    return _has_anchor(tree, 0, START) and _has_anchor(tree, -1, END)


def _has_anchor(items: Iterable[tuple[Any, Any]], at: int, anchors: set[Any]) -> bool:
    kind, value = ([*items] or [(None, None)])[at]
    if kind is op.BRANCH:
        return all(_has_anchor(branch, at, anchors) for branch in value[1])
    if kind is op.SUBPATTERN:
        return _has_anchor(value[3], at, anchors)
    return kind is op.AT and value in anchors


def parsed(pattern: str, field: str = "regex") -> Any:
    """Returns the tree of Python's parser. Raises re.error for an invalid expression, NotSupported for an unknown property."""
    try:
        return parser.parse(python_pattern(pattern, of_python=True))
    except NotRegular as error:
        hint = r"there are the general categories: \p{L}, \p{Lu}, \p{N}, ..."
        raise NotSupported(f"{field}: {error} is not known", hint=hint) from None


def _depth(pattern: str) -> int:
    steps = ((char == "(") - (char == ")") for char in NO_GROUPS.sub("", pattern))
    return max(itertools.accumulate(steps), default=0)


def _refused(field: str, what: str, hint: str = "") -> NotSupported:
    return NotSupported(f"{field}: {what} cannot be enforced while generating", hint=hint)


class _Writer:
    """A writer of the shared constructs. `start` and `end` flag a part at the beginning or end of the text, where anchors
    hold."""

    def __init__(self, field: str, flags: int, allowed: Ranges) -> None:
        self.field, self.flags, self.allowed = field, flags, allowed

    def refused(self, what: str, hint: str = "") -> NotSupported:
        return _refused(self.field, what, hint)

    def sequence(self, items: Iterable[tuple[Any, Any]], *, start: bool, end: bool) -> str:
        items = list(items)
        fixed = [i for i, (kind, _) in enumerate(items) if kind is not op.AT]
        first, last = (fixed[0], fixed[-1]) if fixed else (len(items), -1)
        return "".join(
            self.part(kind, value, start=start and i <= first, end=end and i >= last) for i, (kind, value) in enumerate(items)
        )

    def part(self, kind: Any, value: Any, *, start: bool, end: bool) -> str:
        if kind is op.LITERAL:
            return self.characters(self.cased([(value, value)]))
        if kind is op.NOT_LITERAL:
            return self.characters(without(EVERYTHING, self.cased([(value, value)], whole=True)))
        if kind is op.ANY:
            return self.characters(EVERYTHING if self.flags & re.DOTALL else without(EVERYTHING, ((10, 10),)))
        if kind is op.IN:
            return self.characters(self.members(value))
        if kind is op.BRANCH:
            return f"(?:{'|'.join(self.sequence(branch, start=start, end=end) for branch in value[1])})"
        if kind is op.SUBPATTERN:
            _, added, removed, inner = value
            writer = _Writer(self.field, (self.flags | added) & ~removed, self.allowed)
            return f"(?:{writer.sequence(inner, start=start, end=end)})"
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            return self.repeat(*value)
        if kind is op.AT and ((start and value in START) or (end and value in END)):
            return ""
        if kind is op.AT and value in START | END:
            raise self.refused("an anchor inside the pattern", hint="the whole text is matched, so anchors can be left out")
        raise self.refused(REFUSED.get(kind, "a word boundary" if kind is op.AT else str(kind).lower()))

    def repeat(self, low: int, high: int, inner: Iterable[tuple[Any, Any]]) -> str:
        part = self.sequence(inner, start=False, end=False) if high else ""
        if not part:
            return ""
        most = "" if high == op.MAXREPEAT else high
        return f"(?:{part}){SHORT_COUNTS.get((low, high)) or f'{{{low},{most}}}'}"

    def members(self, items: Sequence[tuple[Any, Any]]) -> Ranges:
        """Returns the characters of a class. An excluded class is excluded as a whole."""
        negated = items[0][0] is op.NEGATE
        listed = [(value, value) if kind is op.LITERAL else value for kind, value in items[negated:] if kind is not op.CATEGORY]
        ranges = [*self.cased(listed, whole=negated)]
        for kind, value in items[negated:]:
            if kind is op.CATEGORY:
                ranges += self.category(value, whole=negated)
        return without(EVERYTHING, ranges) if negated else tuple(ranges)

    def cased(self, ranges: list[tuple[int, int]], *, whole: bool = False) -> Iterable[tuple[int, int]]:
        """Adds the other case of characters if case is ignored: all of them, or only ASCII ones of ASCII ones for generated
        text."""
        if not self.flags & re.IGNORECASE:
            return ranges
        if whole:
            return ignoring_case(ranges, ascii_only=bool(self.flags & re.ASCII))
        in_ascii = [(low, min(high, 0x7F)) for low, high in ranges if low <= 0x7F]
        beyond = [(max(low, 0x80), high) for low, high in ranges if high > 0x7F]
        return (*ignoring_case(in_ascii, ascii_only=True), *ignoring_case(beyond, ascii_only=bool(self.flags & re.ASCII)))

    def category(self, name: Any, *, whole: bool) -> Ranges:
        """Returns a backslash class: all of it, or its ASCII part for generated text (the characters surely in it, for a negated
        one)."""
        positive = name in CATEGORIES
        ascii_part, everything = CATEGORIES[name if positive else NEGATIVE[name]]
        exact = ascii_part if self.flags & re.ASCII else everything()
        if positive:
            return exact if whole else ascii_part
        return without(EVERYTHING, ascii_part if whole else exact)

    def characters(self, ranges: Iterable[tuple[int, int]]) -> str:
        kept = without(self.allowed, without(EVERYTHING, ranges))
        if not kept:
            in_json = "a pattern inside JSON cannot hold quotes, backslashes or control characters"
            raise self.refused("a character that can never come", hint=in_json if self.allowed != EVERYTHING else "")
        if len(kept) == 1 and kept[0][0] == kept[0][1]:
            return _spell(kept[0][0])
        return f"[{_members(kept)}]"


def _members(ranges: Iterable[tuple[int, int]]) -> str:
    return "".join(_spell(low) if low == high else f"{_spell(low)}-{_spell(high)}" for low, high in ranges)


def literal(text: str) -> str:
    """Writes a regular expression for exactly this text. Raises NotSupported if it holds the last code point."""
    if chr(MARK) in text:
        raise NotSupported("U+10FFFF in a constraint cannot be enforced while generating")
    return "".join(map(_spell, map(ord, text)))


def _spell(code: int) -> str:
    char = chr(code)
    if char.isascii() and char.isalnum():
        return char
    return char if code > 0xFFFF else f"\\u{code:04x}"


# Positive class -> its ASCII part, and all of it (for \w a little more: every character beyond ASCII).
CATEGORIES: dict[Any, tuple[Ranges, Any]] = {
    op.CATEGORY_DIGIT: (DIGITS, lambda: matching(r"\d")),
    op.CATEGORY_SPACE: (SPACES, lambda: matching(r"\s")),
    op.CATEGORY_WORD: (ASCII_WORD, lambda: (*ASCII_WORD, (0x80, 0x10FFFF))),
}
NEGATIVE = {
    op.CATEGORY_NOT_DIGIT: op.CATEGORY_DIGIT,
    op.CATEGORY_NOT_SPACE: op.CATEGORY_SPACE,
    op.CATEGORY_NOT_WORD: op.CATEGORY_WORD,
}
