r"""Regular expressions of JSON Schema, in the dialects of ECMA-262 and of Python, as languages of whole texts.

Where the two dialects differ (`\d`, `\s`, `.`), a text is accepted only if it matches in both. With `generous` it is accepted if
it matches in either, for texts that must surely not match. A pattern without anchors searches, as the standard says.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from workbench.grammar.charsets import EVERYTHING, MARK, Ranges
from workbench.grammar.ecma import NotRegular, python_pattern
from workbench.grammar.effort import TooLarge, spend
from workbench.grammar.language import Language, minimal
from workbench.grammar.minimal import DEAD
from workbench.grammar.pattern_characters import characters

MAX_PLACES, MAX_STATES = 20_000, 4096


class BadPattern(ValueError):
    """A text that is no regular expression in either dialect."""


@functools.lru_cache(512)
def pattern_language(pattern: str, *, search: bool = True, generous: bool = False) -> Language:
    """Returns the texts in which the pattern is found (`search`), or which it matches as a whole.

    Raises BadPattern, NotRegular for a construct that no automaton can express, TooLarge for too many states.
    """
    spend(20 * len(pattern))
    try:
        tree = parser.parse(python_pattern(pattern))
    except (re.error, RecursionError, OverflowError, ValueError) as error:
        raise BadPattern(str(error)) from None
    automaton = _Places(generous)
    end = automaton.add(takes=(EVERYTHING, 0)) if search else 0
    if search:
        end = automaton.add(equals=[0, end])
        automaton.takes[automaton.equals[end][1]] = (EVERYTHING, end)
    flags = tree.state.flags
    start = automaton.sequence(list(tree), end, _At(flags, at_start=True))
    if search:
        first = automaton.add(equals=[start])
        later = automaton.add(equals=[automaton.sequence(list(tree), end, _At(flags, at_start=False))])
        skip = automaton.add(takes=(EVERYTHING, later))
        automaton.equals[later].append(skip)
        automaton.equals[first].append(skip)
        start = first
    return automaton.language(start, at_start=True)


class _At:
    """The context of a part of the expression: which flags hold, and what may be assumed about the text before it."""

    def __init__(self, flags: int, *, at_start: bool, in_loop: bool = False) -> None:
        self.flags, self.at_start, self.in_loop = flags, at_start, in_loop

    def later(self) -> _At:
        return _At(self.flags, at_start=False, in_loop=self.in_loop)


class _Places:
    """A nondeterministic automaton. A place has characters that lead to another place, or it is equal to other places; places
    after which the text must be at its end are listed apart. The text ends at place 0."""

    def __init__(self, generous: bool) -> None:
        self.generous = generous
        self.takes: list[tuple[Ranges, int] | None] = [None]
        self.equals: list[list[int]] = [[]]
        self.at_end: dict[int, int] = {}
        """Places that equal another one if nothing follows."""
        self._reached: dict[int, tuple[frozenset[int], bool]] = {}
        self._characters: dict[tuple[Any, int | None, int], Ranges] = {}

    def add(self, takes: tuple[Ranges, int] | None = None, equals: Iterable[int] = ()) -> int:
        if len(self.takes) >= MAX_PLACES:
            raise TooLarge("a pattern with its counts written out")
        spend(2)
        self.takes.append(takes)
        self.equals.append([*equals])
        return len(self.takes) - 1

    def sequence(self, items: list[Any], then: int, at: _At) -> int:
        """Returns the place from which `items` lead to `then`."""
        starts = []
        zero_width = at.at_start
        for kind, value in items:
            starts.append(zero_width)
            zero_width = zero_width and _is_zero_width(kind, value)
        for (kind, value), at_start in zip(reversed(items), reversed(starts), strict=True):
            then = self.part(kind, value, then, _At(at.flags, at_start=at_start, in_loop=at.in_loop))
        return then

    def part(self, kind: Any, value: Any, then: int, at: _At) -> int:
        if kind in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN):
            key = (kind, value if isinstance(value, int) else id(value), at.flags)  # a counted part is added many times
            if key not in self._characters:
                self._characters[key] = characters(kind, value, at.flags, generous=self.generous)
            return self.add(takes=(self._characters[key], then))
        if kind is op.BRANCH:
            return self.add(equals=[self.sequence(list(branch), then, at) for branch in value[1]])
        if kind is op.SUBPATTERN:
            _, added, removed, inner = value
            return self.sequence(list(inner), then, _At((at.flags | added) & ~removed, at_start=at.at_start, in_loop=at.in_loop))
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            low, high, inner = value
            return self.repeat(low, high, list(inner), then, at)
        if kind is op.AT:
            return self.anchor(value, then, at)
        if kind in (op.ASSERT, op.ASSERT_NOT):
            return self.look(kind is op.ASSERT, value, then, at)
        names = {op.GROUPREF: "a reference to a group", op.GROUPREF_EXISTS: "a condition on a group"}
        raise NotRegular(names.get(kind, str(kind).lower().replace("_", " ")))

    def repeat(self, low: int, high: int, items: list[Any], then: int, at: _At) -> int:
        first = then
        if high is op.MAXREPEAT:
            first = self.add(equals=[then])
            self.equals[first].append(self.sequence(items, first, _At(at.flags, at_start=False, in_loop=True)))
            if at.at_start and low == 0:  # the first iteration is still at the start
                return self.add(equals=[then, self.sequence(items, first, _At(at.flags, at_start=True, in_loop=True))])
        else:
            for number in range(high - low):
                is_first = low == 0 and number == high - low - 1
                first = self.add(equals=[then, self.sequence(items, first, at if is_first else at.later())])
        for number in range(low):
            first = self.sequence(items, first, at if number == low - 1 else at.later())
        return first

    def anchor(self, value: Any, then: int, at: _At) -> int:
        if at.flags & re.MULTILINE:
            raise NotRegular("anchors of lines")
        if value in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            return then if at.at_start else self.add()
        if value in (op.AT_END, op.AT_END_STRING):
            place = self.add()
            self.at_end[place] = then
            return place
        raise NotRegular("a word boundary")

    def look(self, positive: bool, value: Any, then: int, at: _At) -> int:
        """Adds a lookahead: the text that follows must, or must not, begin with `value`. Both become automata, and their
        intersection (or difference) replaces the text that follows."""
        direction, inner = value
        if not list(inner):  # (?!) never holds, (?=) always does
            return then if positive else self.add()
        if direction < 0 or at.in_loop:
            raise NotRegular("looking back" if direction < 0 else "looking ahead inside a repetition")
        other = self if positive else _Places(not self.generous)
        end = other.add(equals=[0])
        other.equals[end].append(other.add(takes=(EVERYTHING, end)))
        ahead = other.language(other.sequence(list(inner), end, at), at_start=at.at_start)
        rest = self.language(then, at_start=at.at_start)
        return self.embedded(rest & ahead if positive else rest - ahead)

    def embedded(self, language: Language) -> int:
        """Adds a language as places that lead to the end."""
        places = [self.add() for _ in language.rows]
        for state, place in enumerate(places):
            moves = language.moves(state).items()
            self.equals[place] = [self.add(takes=(ranges, places[target])) for target, ranges in moves]
            if language.final[state]:
                self.equals[place].append(0)
        return places[0]

    def reached(self, places: Iterable[int]) -> tuple[frozenset[int], bool]:
        """Returns the places equal to one of `places` that take a character, and whether the text may end there."""
        parts = [self._reached_from(place) for place in places]
        return frozenset().union(*(part for part, _ in parts)), any(ends for _, ends in parts)

    def _reached_from(self, start: int) -> tuple[frozenset[int], bool]:
        if start not in self._reached:
            self._reached[start] = self._closure(start)
        return self._reached[start]

    def _closure(self, start: int) -> tuple[frozenset[int], bool]:
        found: set[int] = set()
        todo = [start]
        ends: list[int] = []
        while todo:
            place = todo.pop()
            if place in found:
                continue
            found.add(place)
            todo += self.equals[place]
            if place in self.at_end:
                ends.append(self.at_end[place])
        seen = set(found)
        while ends:  # nothing may follow
            place = ends.pop()
            if place not in seen:
                seen.add(place)
                ends += self.equals[place]
                ends += [self.at_end[place]] if place in self.at_end else []
        spend(len(seen))
        return frozenset(place for place in found if self.takes[place] is not None), 0 in seen

    def language(self, start: int, *, at_start: bool) -> Language:
        """Returns the deterministic automaton."""
        self._reached.clear()
        first = self.reached([start])
        bounds, kinds, columns = self._classes(self._live(first[0]))
        width = max(kinds) + 1
        number = {first: 0}
        rows: list[list[int]] = []
        for members, _ in (todo := [first]):
            to: list[set[int]] = [set() for _ in range(width)]
            for place in members:
                ranges, then = self._taken(place)
                spend(len(columns[ranges]))
                for kind in columns[ranges]:
                    to[kind].add(then)
            known: dict[frozenset[int], int] = {frozenset(): DEAD}
            row = []
            for targets in map(frozenset, to):
                if targets not in known:
                    key = self.reached(targets)
                    if key not in number:
                        if len(number) >= MAX_STATES:
                            raise TooLarge(f"a pattern of more than {MAX_STATES:,} states")
                        number[key] = len(number)
                        todo.append(key)
                    known[targets] = number[key]
                row.append(known[targets])
            rows.append(row)
        return minimal(bounds, kinds, rows, [ends for _, ends in number])

    def _classes(self, places: Iterable[int]) -> tuple[list[int], list[int], dict[Ranges, list[int]]]:
        """Returns the ranges of characters that the places distinguish, the class of each, and the classes of each set."""
        sets = list(dict.fromkeys(self._taken(place)[0] for place in places))
        bounds = sorted({0, *(code for ranges in sets for low, high in ranges for code in (low, high + 1) if code <= MARK)})
        index = {code: i for i, code in enumerate(bounds)}
        members = [0] * len(bounds)
        for number, ranges in enumerate(sets):
            for low, high in ranges:
                for i in range(index[low], index.get(high + 1, len(bounds))):
                    members[i] |= 1 << number
        number_of: dict[int, int] = {}
        kinds = [number_of.setdefault(member, len(number_of)) for member in members]
        columns = {
            ranges: [kind for member, kind in number_of.items() if member >> number & 1] for number, ranges in enumerate(sets)
        }
        return bounds, kinds, columns

    def _taken(self, place: int) -> tuple[Ranges, int]:
        taken = self.takes[place]
        assert taken is not None
        return taken

    def _live(self, places: Iterable[int]) -> set[int]:
        found = set()
        todo = [*places]
        while todo:
            place = todo.pop()
            if place not in found:
                found.add(place)
                todo += self.reached([self._taken(place)[1]])[0]
        return found


def _is_zero_width(kind: Any, value: Any) -> bool:
    if kind in (op.AT, op.ASSERT, op.ASSERT_NOT):
        return True
    return kind is op.SUBPATTERN and all(_is_zero_width(*item) for item in value[3])
