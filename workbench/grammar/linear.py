r"""A regular expression as rules that each take one character, or a fixed text, and continue with one other rule.

A backend computes in advance which tokens fit at a place in a rule. If the rule may end within a token, it must try that token
again at every step: 4 ms a step inside `[^"]{0,16}"`, whose count is a rule of its own. Here every place is a rule that covers
the rest of the text, so nothing is left to try: 0.01 ms, at the same cost of compiling.

The rules are those of a finite automaton over characters. One with too many states is not written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from workbench.grammar.charsets import Ranges

MAX_STATES, MAX_PLACES = 320, 4096
"""Limits of the automaton, and of the expression with its counts written out."""


class _TooLarge(Exception):
    pass


def linear_rules(pattern: str, name: str, before: str) -> str | None:
    """Returns EBNF whose rule `name` is the pattern (of `plain_regex`), with other rules named after it; None if it is too large.

    `before` is the character that always follows the pattern. At the end of a text, it is one that no token holds.
    """
    try:
        places = _Places()
        start = places.sequence(parser.parse(pattern), places.add())
        states = _states(places, start)
    except (_TooLarge, RecursionError, OverflowError):
        return None
    ahead = f" (={_quoted(map(ord, before))})"
    names = {0: name}
    rules = []
    for state in (todo := [0]):
        is_final, moves = states[state]
        parts = ['""'] if is_final else []
        for target, ranges in moves.items():
            text, at = _run(states, target, ranges)
            if at not in names:
                names[at] = f"{name}_{len(names)}"
                todo.append(at)
            parts.append(f"{_quoted(text) if text else _class(ranges)} {names[at]}")
        rules.append(f"{names[state]} ::= ({' | '.join(parts)}){ahead}")
    return "\n".join(rules)


class _Places:
    """A nondeterministic automaton. A place has characters that lead to another place, or it is equal to other places. The text
    ends at place 0."""

    def __init__(self) -> None:
        self.takes: list[tuple[Ranges, int] | None] = []
        self.equals: list[list[int]] = []

    def add(self, takes: tuple[Ranges, int] | None = None, equals: Iterable[int] = ()) -> int:
        if len(self.takes) >= MAX_PLACES:
            raise _TooLarge
        self.takes.append(takes)
        self.equals.append([*equals])
        return len(self.takes) - 1

    def sequence(self, items: Any, then: int) -> int:
        """Returns the place from which `items` lead to `then`."""
        for kind, value in reversed(list(items)):
            then = self.part(kind, value, then)
        return then

    def part(self, kind: Any, value: Any, then: int) -> int:
        if kind is op.LITERAL:
            return self.add((((value, value),), then))
        if kind is op.IN:
            return self.add((tuple(v if kind is op.RANGE else (v, v) for kind, v in value), then))
        if kind is op.BRANCH:
            return self.add(equals=[self.sequence(branch, then) for branch in value[1]])
        if kind is op.SUBPATTERN:
            return self.sequence(value[3], then)
        assert kind is op.MAX_REPEAT, kind
        low, high, inner = value
        first = then
        if high is op.MAXREPEAT:
            first = self.add(equals=[then])
            self.equals[first].append(self.sequence(inner, first))
        else:
            for _ in range(high - low):
                first = self.add(equals=[then, self.sequence(inner, first)])
        for _ in range(low):
            first = self.sequence(inner, first)
        return first

    def reached(self, places: Iterable[int]) -> frozenset[int]:
        """Returns all places equal to one of `places` that take a character or are the end."""
        found, todo = set(), [*places]
        while todo:
            place = todo.pop()
            if place not in found:
                found.add(place)
                todo += self.equals[place]
        return frozenset(place for place in found if place == 0 or self.takes[place] is not None)


State = tuple[bool, dict[int, Ranges]]
"""Flag for the end of a text here, and the characters that lead to each other state."""


def _states(places: _Places, start: int) -> list[State]:
    """Returns the deterministic automaton; state 0 is the start."""
    edges = {(low, high + 1) for takes in places.takes if takes is not None for low, high in takes[0]}
    bounds = sorted({code for edge in edges for code in edge})
    index = {code: i for i, code in enumerate(bounds)}
    number = {places.reached([start]): 0}
    states: list[State] = []
    for members in (found := list(number)):
        to: list[set[int]] = [set() for _ in bounds]
        for ranges, then in filter(None, (places.takes[place] for place in members)):
            for low, high in ranges:
                for i in range(index[low], index[high + 1]):
                    to[i].add(then)
        moves: dict[int, Ranges] = {}
        for i, next_places in enumerate(to):
            if not next_places:
                continue
            target = places.reached(next_places)
            if target not in number:
                if len(number) >= MAX_STATES:
                    raise _TooLarge
                number[target] = len(number)
                found.append(target)
            moves[number[target]] = _joined(moves.get(number[target], ()), (bounds[i], bounds[i + 1] - 1))
        states.append((0 in members, moves))
    return states


def _joined(ranges: Ranges, following: tuple[int, int]) -> Ranges:
    """Returns the ranges with another one behind all others."""
    if ranges and ranges[-1][1] == following[0] - 1:
        return (*ranges[:-1], (ranges[-1][0], following[1]))
    return (*ranges, following)


def _run(states: Sequence[State], at: int, ranges: Ranges) -> tuple[list[int], int]:
    """Returns the fixed text that begins with the move of `ranges` to `at`, and the state behind it; no text where there is a
    choice."""
    text: list[int] = []
    seen = set()
    while len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        text.append(ranges[0][0])
        is_final, moves = states[at]
        if is_final or len(moves) != 1 or at in seen:
            break
        seen.add(at)
        ((following, ranges),) = moves.items()
        if len(ranges) > 1 or ranges[0][0] != ranges[0][1]:
            break
        at = following
    return text, at


def _class(ranges: Ranges) -> str:
    return f"[{''.join(_spelled(low) if low == high else f'{_spelled(low)}-{_spelled(high)}' for low, high in ranges)}]"


def _quoted(codes: Iterable[int]) -> str:
    return f'"{"".join(map(_spelled, codes))}"'


def _spelled(code: int) -> str:
    char = chr(code)
    if char.isascii() and char.isalnum():
        return char
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
