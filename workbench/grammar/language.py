"""Regular languages of texts as deterministic automata: what patterns, lengths, formats and names of JSON Schema are made of.

Languages can be intersected, united and taken from each other, so that several rules for one text become one automaton.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from workbench.grammar.charsets import EVERYTHING, MARK, Ranges
from workbench.grammar.effort import TooLarge, spend

DEAD = -1
MAX_STATES = 4096


@dataclass(frozen=True, eq=False)
class Language:
    """An automaton over characters. State 0 is the start; from every state some end can be reached, but for the
    start of the empty language."""

    bounds: tuple[int, ...]
    """The first code point of each class of characters; a class ends where the next begins, the last one at `MARK`."""
    rows: tuple[tuple[int, ...], ...]
    """For each state and class the next state, or DEAD."""
    final: tuple[bool, ...]
    """For each state, whether the text may end."""

    def accepts(self, text: str) -> bool:
        state = 0
        for char in text:
            state = self.rows[state][_class_at(self.bounds, ord(char))]
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
        """The least and the largest length, where any characters make up the texts; None where not."""
        last = len(self.rows) - 1
        for state in range(last):
            if self.moves(state) != {state + 1: EVERYTHING}:
                return None
        if self.moves(last) not in ({}, {last: EVERYTHING}) or self.is_empty:
            return None
        low = self.final.index(True)
        return (low, last if not self.moves(last) else None) if all(self.final[low:]) else None

    def moves(self, state: int) -> dict[int, Ranges]:
        """The characters that lead from a state to each other one."""
        found: dict[int, list[tuple[int, int]]] = {}
        for i, target in enumerate(self.rows[state]):
            if target == DEAD:
                continue
            low, high = self.bounds[i], (self.bounds[i + 1] if i + 1 < len(self.bounds) else MARK) - 1
            ranges = found.setdefault(target, [])
            if ranges and ranges[-1][1] == low - 1:
                ranges[-1] = (ranges[-1][0], high)
            else:
                ranges.append((low, high))
        return {target: tuple(ranges) for target, ranges in found.items()}

    def words(self, most: int) -> list[str] | None:
        """All texts of the language, or None if there are more than `most`."""
        found: list[str] = []
        todo = deque([("", 0)])
        while todo:
            text, state = todo.popleft()
            if len(text) > len(self.rows):  # longer than a text without a loop
                return None
            if self.final[state]:
                found.append(text)
            for target, ranges in self.moves(state).items():
                if sum(high - low + 1 for low, high in ranges) + len(found) + len(todo) > most:
                    return None
                todo += ((text + chr(code), target) for low, high in ranges for code in range(low, high + 1))
        return found if len(found) <= most else None

    def __and__(self, other: Language) -> Language:
        return combined(self, other, lambda a, b: a and b)

    def __or__(self, other: Language) -> Language:
        return combined(self, other, lambda a, b: a or b)

    def __sub__(self, other: Language) -> Language:
        return combined(self, other, lambda a, b: a and not b)

    def __invert__(self) -> Language:
        return everything() - self


def everything() -> Language:
    return lengths(0, None)


@functools.cache
def nothing() -> Language:
    return Language((0,), ((DEAD,),), (False,))


@functools.lru_cache(256)
def lengths(low: int, high: int | None) -> Language:
    """All texts of `low` to `high` characters. Raises TooLarge."""
    last = low if high is None else high
    if last >= MAX_STATES:
        raise TooLarge(f"a length of {last:,}")
    bounds, row = _classes([EVERYTHING])
    following = [i + 1 for i in range(last)] + [last if high is None else DEAD]
    rows = tuple(tuple(target if taken else DEAD for taken in row) for target in following)
    return Language(bounds, rows, tuple(i >= low for i in range(last + 1))) if low <= last else nothing()


def words(texts: Iterable[str]) -> Language:
    """The texts themselves."""
    return _trie(texts, is_complement=False)


def all_but(texts: Iterable[str]) -> Language:
    """Every other text."""
    return _trie(texts, is_complement=True)


def _trie(texts: Iterable[str], *, is_complement: bool) -> Language:
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
    codes = {code for node in trie for code in node}
    edges = {0, 0xD800, 0xE000, MARK} if is_complement else {0}
    bounds = sorted(edges | codes | {code + 1 for code in codes})
    index = {code: i for i, code in enumerate(bounds)}
    other = [len(trie) if is_complement and code < MARK and not 0xD800 <= code < 0xE000 else DEAD for code in bounds]
    rows = []
    for node in trie:
        spend(len(bounds) // 8 + 1)
        row = other.copy()
        for code, target in node.items():
            row[index[code]] = target
        rows.append(row)
    final = [(i in ends) != is_complement for i in range(len(trie))]
    if is_complement:
        rows.append(other)
        final.append(True)
        return Language(tuple(bounds), tuple(map(tuple, rows)), tuple(final))
    return Language(tuple(bounds), tuple(map(tuple, rows)), tuple(final)) if ends else nothing()


def prefixed(char: str, language: Language) -> Language:
    """The texts of a language with one character before each."""
    code = ord(char)
    bounds = sorted({0, code, code + 1, *language.bounds})
    columns = [_class_at(language.bounds, bound) for bound in bounds]
    rows = [[1 if bound == code else DEAD for bound in bounds]]
    rows += [[row[i] + 1 if row[i] != DEAD else DEAD for i in columns] for row in language.rows]
    return minimal(bounds, rows, [False, *language.final])


def combined(a: Language, b: Language, keep: Callable[[bool, bool], bool]) -> Language:
    """The texts of which `keep` says so, told whether `a` and whether `b` holds them. Raises TooLarge."""
    bounds = sorted({*a.bounds, *b.bounds})
    in_a, in_b = ([_class_at(language.bounds, code) for code in bounds] for language in (a, b))
    number = {(0, 0): 0}
    rows: list[list[int]] = []
    final = []
    for x, y in (todo := [(0, 0)]):
        spend(len(bounds))
        final.append(keep(x != DEAD and a.final[x], y != DEAD and b.final[y]))
        row = []
        for i, j in zip(in_a, in_b, strict=True):
            pair = (a.rows[x][i] if x != DEAD else DEAD, b.rows[y][j] if y != DEAD else DEAD)
            if pair == (DEAD, DEAD):
                row.append(DEAD)
                continue
            if pair not in number:
                if len(number) > 4 * MAX_STATES:
                    raise TooLarge("what several patterns have in common")
                number[pair] = len(number)
                todo.append(pair)
            row.append(number[pair])
        rows.append(row)
    return minimal(bounds, rows, final)


def minimal(bounds: Iterable[int], rows: list[list[int]], final: list[bool]) -> Language:
    """The smallest automaton of the same language. Raises TooLarge where that has more than MAX_STATES states."""
    bounds = tuple(bounds)
    alive = _alive(rows, final)
    if 0 not in alive:
        return nothing()
    group = _groups(rows, final, alive)
    count = len({group[i] for i in alive})
    if count > MAX_STATES:
        raise TooLarge(f"an automaton of {count:,} states")
    member = {number: i for i, number in reversed(list(enumerate(group)))}
    order = {group[0]: 0}
    for number in (todo := [group[0]]):
        for target in rows[member[number]]:
            if target in alive and group[target] not in order:
                order[group[target]] = len(order)
                todo.append(group[target])
    kept = [rows[member[number]] for number in todo]
    table = [[order[group[t]] if t in alive else DEAD for t in row] for row in kept]
    return _narrow(bounds, table, [final[member[number]] for number in todo])


def _groups(rows: list[list[int]], final: list[bool], alive: set[int]) -> list[int]:
    """For each state the number of its class of states that nothing tells apart (Hopcroft's algorithm)."""
    before: list[dict[int, list[int]]] = [{} for _ in rows[0]]
    num_moves = 0
    for i in alive:
        for column, target in enumerate(rows[i]):
            if target in alive:
                num_moves += 1
                before[column].setdefault(target, []).append(i)
    spend(num_moves // 2)
    ends = {i for i in alive if final[i]}
    blocks = [block for block in (ends, alive - ends) if block]
    block_of = {i: number for number, block in enumerate(blocks) for i in block}
    todo = set(range(len(blocks)))  # states that lead nowhere are one class, which need not tell others apart
    while todo:
        splitter = tuple(blocks[todo.pop()])
        for sources in before:
            hit: dict[int, set[int]] = {}
            for target in splitter:
                for i in sources.get(target, ()):
                    hit.setdefault(block_of[i], set()).add(i)
            for number, part in hit.items():
                block = blocks[number]
                if len(part) == len(block):
                    continue
                spend(len(part))
                rest = block - part
                small, blocks[number] = (part, rest) if len(part) <= len(rest) else (rest, part)
                for i in small:
                    block_of[i] = len(blocks)
                todo.add(len(blocks))
                blocks.append(small)
    return [block_of.get(i, DEAD) for i in range(len(rows))]


def _alive(rows: list[list[int]], final: list[bool]) -> set[int]:
    """The states from which some end can be reached."""
    before: list[list[int]] = [[] for _ in rows]
    for i, row in enumerate(rows):
        for target in set(row):
            if target != DEAD:
                before[target].append(i)
    found = {i for i, end in enumerate(final) if end}
    todo = [*found]
    while todo:
        for i in before[todo.pop()]:
            if i not in found:
                found.add(i)
                todo.append(i)
    return found


def _narrow(bounds: tuple[int, ...], rows: list[list[int]], final: list[bool]) -> Language:
    """Without bounds that tell nothing apart."""
    columns = list(zip(*rows, strict=True))
    kept = [i for i in range(len(bounds)) if i == 0 or columns[i] != columns[i - 1]]
    return Language(tuple(bounds[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows), tuple(final))


def _classes(sets: Iterable[Ranges]) -> tuple[tuple[int, ...], list[bool]]:
    """The bounds of all ranges, and whether each class is in the first of the sets."""
    sets = list(sets)
    bounds = sorted({0, *(code for ranges in sets for low, high in ranges for code in (low, high + 1))})
    first = sets[0]
    return tuple(bounds), [any(low <= code <= high for low, high in first) for code in bounds]


def _class_at(bounds: tuple[int, ...], code: int) -> int:
    low, high = 0, len(bounds)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bounds[middle] <= code else (low, middle)
    return low


def is_complete_at(language: Language, length: int) -> bool:
    """Whether every text of `length` characters or more that the language has begun may also end."""
    final = language.final
    if any(final[i] and not all(final[target] for target in row if target != DEAD) for i, row in enumerate(language.rows)):
        return False
    states = {0}
    for _ in range(min(length, len(final)) + 1):
        states = {i for i in states if not final[i]}
        if not states:
            return True
        spend(len(states))
        states = {target for i in states for target in language.rows[i] if target != DEAD}
    return False
