"""Languages whose lengths are left to a matcher that counts."""

from __future__ import annotations

import functools
from collections import Counter

from workbench.grammar.effort import spend
from workbench.grammar.language import Language, minimal
from workbench.grammar.minimal import DEAD


@functools.lru_cache(256)
def without_count(language: Language) -> tuple[Language, int] | None:
    """Returns a language and a length so that the given language is its texts of at most that length; None if there is no such
    pair.

    There is one where the language ends in a number of characters of one class: `[a-z][a-z0-9]{0,62}` is the texts of
    `[a-z][a-z0-9]*` of at most 63.
    """
    chain = _chain(language)
    depths = _depths(language, chain)
    if len(chain) < 2 or depths is None:
        return None
    shallow, deep = depths[chain[0]]
    limit = deep + len(chain) - 1
    if shallow != deep or any(deepest > limit for _, deepest in depths.values()):
        return None
    rows = [list(row) for row in language.rows]
    rows[chain[0]] = [chain[0] if target != DEAD else DEAD for target in rows[chain[0]]]
    return minimal(language.bounds, language.kinds, rows, list(language.final)), limit


@functools.lru_cache(256)
def is_complete_at(language: Language, length: int) -> bool:
    """Returns whether every text of `length` characters or more that the language has begun may also end."""
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


def _chain(language: Language) -> list[int]:
    """Returns the longest row of states in which every text may end or go on with a character of one class, up to the last."""
    before: dict[tuple[tuple[bool, ...], int], int] = {}  # in a smallest automaton, there is one state for each of these
    for state, row in enumerate(language.rows):
        inside = tuple(target != DEAD for target in row)
        targets = {target for target in row if target != DEAD} - {state}
        if language.final[state] and len(targets) == 1 and state not in row:
            before[inside, targets.pop()] = state
    best: list[int] = []
    for inside, last in [key for key in before if set(language.rows[key[1]]) == {DEAD}]:
        chain = [last]
        while (inside, chain[0]) in before:
            spend(1)
            chain.insert(0, before[inside, chain[0]])
        best = max(best, chain, key=len)
    return best


def _depths(language: Language, chain: list[int]) -> dict[int, tuple[int, int]] | None:
    """Returns the least and the largest number of characters before each state, as far as the chain's first; None for a loop."""
    left_out = set(chain[1:])
    moves = {
        state: set() if state == chain[0] else {target for target in row if target != DEAD}
        for state, row in enumerate(language.rows) if state not in left_out
    } if chain else {}  # fmt: skip
    num_before = Counter(target for targets in moves.values() for target in targets)
    found: dict[int, tuple[int, int]] = {0: (0, 0)}
    for state in (todo := [0] if not num_before[0] else []):
        spend(1)
        low, high = found[state]
        for target in moves.get(state, ()):
            least, most = found.get(target, (low + 1, high + 1))
            found[target] = min(least, low + 1), max(most, high + 1)
            num_before[target] -= 1
            todo += [target] if num_before[target] == 0 else []
    return found if len(todo) == len(moves) else None
