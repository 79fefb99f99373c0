"""The smallest automaton of a language, by Hopcroft's algorithm on plain tables."""

from __future__ import annotations

from workbench.grammar.effort import spend

DEAD = -1
"""Number in the place of a state: no text continues from here."""
Rows = list[list[int]]
"""Next state, or DEAD, for each state and class of characters. State 0 is the start."""


def minimal_table(rows: Rows, final: list[bool]) -> tuple[Rows, list[bool]]:
    """Returns the rows and final states of the smallest automaton; no rows if no text is accepted.

    States are numbered in the order in which they are reached.
    """
    alive = _alive(rows, final)
    if 0 not in alive:
        return [], []
    block = _blocks(rows, final, alive)
    member = {number: state for state, number in reversed(list(enumerate(block)))}
    order = {block[0]: 0}
    for number in (todo := [block[0]]):
        for target in rows[member[number]]:
            if target in alive and block[target] not in order:
                order[block[target]] = len(order)
                todo.append(block[target])
    kept = [rows[member[number]] for number in todo]
    table = [[order[block[target]] if target in alive else DEAD for target in row] for row in kept]
    return table, [final[member[number]] for number in todo]


def _blocks(rows: Rows, final: list[bool], alive: set[int]) -> list[int]:
    """Returns the number of each state's block: states of one block accept the same texts."""
    before: list[dict[int, list[int]]] = [{} for _ in rows[0]]
    num_moves = 0
    for state in alive:
        for column, target in enumerate(rows[state]):
            if target in alive:
                num_moves += 1
                before[column].setdefault(target, []).append(state)
    spend(num_moves // 2)
    ends = {state for state in alive if final[state]}
    blocks = [block for block in (ends, alive - ends) if block]
    block_of = {state: number for number, block in enumerate(blocks) for state in block}
    todo = set(range(len(blocks)))  # dead states form one block, which splits no others
    while todo:
        splitter = tuple(blocks[todo.pop()])
        for sources in before:
            hit: dict[int, set[int]] = {}
            for target in splitter:
                for state in sources.get(target, ()):
                    hit.setdefault(block_of[state], set()).add(state)
            for number, part in hit.items():
                block = blocks[number]
                if len(part) == len(block):
                    continue
                spend(len(part))
                rest = block - part
                small, blocks[number] = (part, rest) if len(part) <= len(rest) else (rest, part)
                for state in small:
                    block_of[state] = len(blocks)
                todo.add(len(blocks))
                blocks.append(small)
    return [block_of.get(state, DEAD) for state in range(len(rows))]


def _alive(rows: Rows, final: list[bool]) -> set[int]:
    """Returns the states from which an end can be reached."""
    before: list[list[int]] = [[] for _ in rows]
    for state, row in enumerate(rows):
        for target in set(row):
            if target != DEAD:
                before[target].append(state)
    found = {state for state, is_final in enumerate(final) if is_final}
    todo = [*found]
    while todo:
        for state in before[todo.pop()]:
            if state not in found:
                found.add(state)
                todo.append(state)
    return found
