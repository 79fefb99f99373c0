"""Regular languages as deterministic automata: patterns, lengths, formats and names of JSON Schema are made of them.

Languages can be intersected, united and subtracted, so that several rules for one text become one automaton.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from workbench.grammar.charsets import EVERYTHING, MARK, Ranges, union
from workbench.grammar.effort import TooLarge, spend
from workbench.grammar.minimal import DEAD, Rows, minimal_table

MAX_STATES = 4096


@dataclass(frozen=True, eq=False)
class Language:
    """An automaton over characters. State 0 is the start. An end can be reached from every state, except from the start of the
    empty language."""

    bounds: tuple[int, ...]
    """First code points of ranges of characters; a range ends where the next begins, the last one at `MARK`."""
    kinds: tuple[int, ...]
    """Class of each range. Characters of one class lead to the same states everywhere."""
    rows: tuple[tuple[int, ...], ...]
    """Next state for each state and class, or DEAD."""
    final: tuple[bool, ...]
    """Flags of the states: the text may end there."""

    def kind_at(self, code: int) -> int:
        """Returns the class of a character."""
        return self.kinds[bisect_right(self.bounds, code) - 1]

    def accepts(self, text: str) -> bool:
        state = 0
        for char in text:
            state = self.rows[state][self.kind_at(ord(char))]
            if state == DEAD:
                return False
        return self.final[state]

    @property
    def is_empty(self) -> bool:
        return not any(self.final)

    @property
    def is_everything(self) -> bool:
        return len(self.rows) == 1 and self.final[0] and self.moves(0) == {0: EVERYTHING}

    @property
    def counts(self) -> tuple[int, int | None] | None:
        """Least and largest length if the language is all texts of these lengths; None for other languages."""
        last = len(self.rows) - 1
        for state in range(last):
            if self.moves(state) != {state + 1: EVERYTHING}:
                return None
        if self.moves(last) not in ({}, {last: EVERYTHING}) or self.is_empty:
            return None
        low = self.final.index(True)
        return (low, last if not self.moves(last) else None) if all(self.final[low:]) else None

    def moves(self, state: int) -> dict[int, Ranges]:
        """Returns the characters that lead from a state to each next one."""
        kinds: dict[int, list[int]] = {}
        for kind, target in enumerate(self.rows[state]):
            if target != DEAD:
                kinds.setdefault(target, []).append(kind)
        return {target: self._characters(tuple(found)) for target, found in kinds.items()}

    def _characters(self, kinds: tuple[int, ...]) -> Ranges:
        if kinds not in self._unions:
            self._unions[kinds] = union(*(self._ranges[kind] for kind in kinds))
        return self._unions[kinds]

    @cached_property
    def _unions(self) -> dict[tuple[int, ...], Ranges]:
        return {}

    @cached_property
    def _ranges(self) -> list[list[tuple[int, int]]]:
        """Ranges of the characters of each class."""
        found: list[list[tuple[int, int]]] = [[] for _ in self.rows[0]]
        for low, end, kind in zip(self.bounds, (*self.bounds[1:], MARK), self.kinds, strict=True):
            if low < end:
                found[kind].append((low, end - 1))
        return found

    def words(self, most: int) -> list[str] | None:
        """Returns all texts of the language, or None if there are more than `most`."""
        found: list[str] = []
        todo = deque([("", 0)])
        while todo:
            text, state = todo.popleft()
            if len(text) > len(self.rows):  # longer than any text without a loop
                return None
            if self.final[state]:
                found.append(text)
            for target, ranges in self.moves(state).items():
                if sum(high - low + 1 for low, high in ranges) + len(found) + len(todo) > most:
                    return None
                todo += ((text + chr(code), target) for low, high in ranges for code in range(low, high + 1))
        return found if len(found) <= most else None

    def __and__(self, other: Language) -> Language:
        return _combined(self, other, "and")

    def __or__(self, other: Language) -> Language:
        return _combined(self, other, "or")

    def __sub__(self, other: Language) -> Language:
        return _combined(self, other, "but not")

    def __invert__(self) -> Language:
        return everything() - self


def everything() -> Language:
    return lengths(0, None)


@functools.cache
def nothing() -> Language:
    return Language((0,), (0,), ((DEAD,),), (False,))


@functools.lru_cache(256)
def lengths(low: int, high: int | None) -> Language:
    """Returns all texts of `low` to `high` characters. Raises TooLarge."""
    last = low if high is None else high
    if last >= MAX_STATES:
        raise TooLarge(f"a length of {last:,}")
    following = [*range(1, last + 1), last if high is None else DEAD]
    rows = tuple((target, DEAD) for target in following)
    if low > last:
        return nothing()
    return Language((0, 0xD800, 0xE000, MARK), (0, 1, 0, 1), rows, tuple(i >= low for i in range(last + 1)))


def words(texts: Iterable[str]) -> Language:
    """Returns the language of these texts."""
    codes, rows, final = _shared_trie(texts)
    if not any(final):
        return nothing()
    bounds = sorted({0, *codes, *(code + 1 for code in codes)})
    kind_of = {code: kind for kind, code in enumerate(codes)}
    return _language(bounds, [kind_of.get(code, len(codes)) for code in bounds], [[*row, DEAD] for row in rows], final)


def all_but(texts: Iterable[str]) -> Language:
    """Returns the language of all other texts."""
    codes, rows, final = _shared_trie(texts)
    other, dead = len(codes), len(codes) + 1
    bounds = sorted({0, 0xD800, 0xE000, MARK, *codes, *(code + 1 for code in codes)})
    kind_of = {code: kind for kind, code in enumerate(codes)}
    kinds = [kind_of.get(code, dead if 0xD800 <= code < 0xE000 or code == MARK else other) for code in bounds]
    off = len(rows)
    table = [[off if target == DEAD else target for target in row] + [off, DEAD] for row in rows]
    table.append([off] * (other + 1) + [DEAD])
    return _language(bounds, kinds, table, [not is_final for is_final in final] + [True])


def _shared_trie(texts: Iterable[str]) -> tuple[list[int], Rows, list[bool]]:
    """Returns the smallest automaton of some texts: the characters, and for each state a row with the next state for each of
    them."""
    trie: list[dict[int, int]] = [{}]
    ends = set()
    for text in texts:
        at = 0
        for char in text:
            if ord(char) not in trie[at]:
                trie[at][ord(char)] = len(trie)
                trie.append({})
            at = trie[at][ord(char)]
        ends.add(at)
    codes = sorted({code for node in trie for code in node})
    known: dict[tuple[bool, frozenset[tuple[int, int]]], int] = {}
    same: dict[int, int] = {}
    for node in range(len(trie) - 1, -1, -1):  # children of a node have higher numbers
        spend(2 + len(trie[node]))
        same[node] = known.setdefault((node in ends, frozenset((c, same[to]) for c, to in trie[node].items())), node)
    order = {same[0]: 0}
    rows = []
    for node in (todo := [same[0]]):
        spend(len(codes) // 8 + 1)
        row = [DEAD] * len(codes)
        for i, code in enumerate(codes):
            if code in trie[node]:
                target = same[trie[node][code]]
                if target not in order:
                    order[target] = len(order)
                    todo.append(target)
                row[i] = order[target]
        rows.append(row)
    return codes, rows, [node in ends for node in todo]


def prefixed(char: str, language: Language) -> Language:
    """Returns the texts of a language with one character in front of each."""
    code = ord(char)
    bounds = sorted({0, code, code + 1, *language.bounds})
    width = len(language.rows[0])  # one class more, for the character, which is in another class of the language
    kinds = [width if bound == code else language.kind_at(bound) for bound in bounds]
    own = language.kind_at(code)
    rows = [[DEAD] * width + [1]]
    rows += [[target + 1 if target != DEAD else DEAD for target in (*row, row[own])] for row in language.rows]
    return minimal(bounds, kinds, rows, [False, *language.final])


@functools.lru_cache(128)
def _combined(a: Language, b: Language, how: Literal["and", "or", "but not"]) -> Language:
    """Returns the product of two automata. Raises TooLarge."""
    bounds = sorted({*a.bounds, *b.bounds})
    number_of: dict[tuple[int, int], int] = {}
    kinds = [number_of.setdefault((a.kind_at(code), b.kind_at(code)), len(number_of)) for code in bounds]
    dead_a, dead_b = ((DEAD,) * len(language.rows[0]) for language in (a, b))
    number = {(0, 0): 0}
    rows: Rows = []
    final = []
    for x, y in (todo := [(0, 0)]):
        spend(len(number_of))
        in_a, in_b = x != DEAD and a.final[x], y != DEAD and b.final[y]
        final.append(in_a or in_b if how == "or" else in_a and in_b == (how == "and"))
        from_a, from_b = a.rows[x] if x != DEAD else dead_a, b.rows[y] if y != DEAD else dead_b
        row = []
        for i, j in number_of:
            pair = from_a[i], from_b[j]
            if (pair[0] == DEAD and (how != "or" or pair[1] == DEAD)) or (pair[1] == DEAD and how == "and"):
                row.append(DEAD)
                continue
            if pair not in number:
                if len(number) > 4 * MAX_STATES:
                    raise TooLarge("what several patterns have in common")
                number[pair] = len(number)
                todo.append(pair)
            row.append(number[pair])
        rows.append(row)
    return minimal(bounds, kinds, rows, final)


def minimal(bounds: Sequence[int], kinds: Sequence[int], rows: Rows, final: list[bool]) -> Language:
    """Returns the smallest automaton of the same language. Raises TooLarge if it has more than MAX_STATES states."""
    table, ends = minimal_table(rows, final)
    if not table:
        return nothing()
    if len(table) > MAX_STATES:
        raise TooLarge(f"an automaton of {len(table):,} states")
    return _language(bounds, kinds, table, ends)


def _language(bounds: Sequence[int], kinds: Sequence[int], rows: Rows, final: Sequence[bool]) -> Language:
    """Returns a language of these rows, with characters that always lead to the same states in one class."""
    number_of: dict[tuple[int, ...], int] = {}
    merged = [number_of.setdefault(column, len(number_of)) for column in zip(*rows, strict=True)]
    kept = [i for i in range(len(bounds)) if i == 0 or merged[kinds[i]] != merged[kinds[i - 1]]]
    return Language(
        tuple(bounds[i] for i in kept),
        tuple(merged[kinds[i]] for i in kept),
        tuple(zip(*number_of, strict=True)),
        tuple(final),
    )
