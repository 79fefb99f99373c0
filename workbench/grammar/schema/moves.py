"""Arrays and objects as automata over their parts: the parts that may come next, and whether it may end here.

Only states from which an end can be reached are kept, so a text that follows the moves is never stuck.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from workbench.grammar.effort import spend
from workbench.grammar.language import Language
from workbench.grammar.schema.forms import Array, Form, Item, Object, Values

State = tuple[int, int]
"""Number of the next part, and the number of counted parts so far."""
START: State = (0, 0)
MAX_MERGED = 512


@dataclass(frozen=True, eq=False)
class Move:
    """A part that may come next. Without a rule there is none: the next property is left out."""

    to: State
    rule: int | None = None
    name: str | Language | None = None
    """Name of a property, or the language of its names (None: any)."""
    is_property: bool = False


@dataclass(frozen=True, eq=False)
class Stop:
    may_end: bool
    moves: tuple[Move, ...]


Moves = dict[State, Stop]
"""Graph from each state to the parts behind it. Empty if there is no such array or object."""


def is_possible(form: Form, possible: Collection[int]) -> bool:
    """Returns whether some value has the form, given the numbers of the rules that have values."""
    if isinstance(form, Values):
        return bool(form.values)
    if isinstance(form, Array):
        return _array_is_possible(form, possible)
    return not isinstance(form, Object) or _object_is_possible(form, possible)


def _array_is_possible(form: Array, possible: Collection[int]) -> bool:
    if form.distinct or form.need or form.most is not None:
        return bool(array_moves(form, possible))
    items = [form.first[i] if i < len(form.first) else form.rest for i in range(min(form.low, len(form.first) + 1))]
    fits = form.high is None or form.low <= form.high
    return fits and all(item is not None and item.rule in possible for item in items)


def _object_is_possible(form: Object, possible: Collection[int]) -> bool:
    if form.last:
        return bool(object_moves(form, possible))
    required = [part for part in form.properties if part.is_required]
    if any(part.rule not in possible for part in required) or (form.high is not None and len(required) > form.high):
        return False
    if any(rule in possible for _, rule in form.others):
        return form.high is None or form.low <= form.high
    most = sum(part.rule in possible for part in form.properties)
    return form.low <= (most if form.high is None else min(most, form.high))


def array_moves(form: Array, possible: Collection[int]) -> Moves:
    """Returns the items by position. The state's second number counts the items that satisfy `contains`."""
    if form.distinct:
        return _living(partial(_distinct, form, possible))
    last = form.high if form.high is not None else max(1, len(form.first), form.low)

    def stop(state: State) -> Stop:
        i, num = state
        item = form.first[i] if i < len(form.first) else form.rest
        moves: list[Move] = []
        if item is not None and (form.high is None or i < form.high):
            after = min(i + 1, last)
            moves += [Move((after, counted), rule) for rule, counted in _counted(form, item, num) if rule in possible]
        return Stop(i >= form.low and num >= form.need, tuple(moves))

    return _living(stop)


def _distinct(form: Array, possible: Collection[int], state: State) -> Stop:
    """Returns the stop of an array of distinct values. The state's second number has a bit for each value that has come."""
    i, used = state
    left = [(j, rule) for j, rule in enumerate(form.distinct) if not used >> j & 1 and rule in possible]
    has_room = form.high is None or i < form.high
    return Stop(i >= form.low, tuple(Move((i + 1, used | 1 << j), rule) for j, rule in left if has_room))


def _counted(form: Array, item: Item, num: int) -> Iterable[tuple[int, int]]:
    """Returns the rules of an item, each with the number of counted items after it."""
    if item.counted is None or item.other is None or (form.most is None and num >= form.need):
        yield item.rule, num
        return
    if form.most is None or num < form.most:
        yield item.counted, num + 1
    yield item.rule if form.most is None else item.other, num


def object_moves(form: Object, possible: Collection[int]) -> Moves:
    """Returns the properties in order, then others. The state's second number counts them as far as that matters."""
    num = len(form.properties)
    most = form.high if form.high is not None and (form.others or form.last or form.high < num) else None
    cap = max(1, form.low, most or 0)

    def stop(state: State) -> Stop:
        i, so_far = state
        has_room = most is None or so_far < most
        count = min(so_far + 1, cap) if most is None else so_far + 1
        if i >= num:
            parts = [(i, part) for part in form.others if i == num] + [(num + 1, part) for part in form.last if i == num]
            moves = [Move((to, count), rule, names, True) for to, (names, rule) in parts if rule in possible and has_room]
            return Stop(so_far >= form.low and (i > num or not form.last), tuple(moves))
        part = form.properties[i]
        moves = [Move((i + 1, count), part.rule, part.name, True)] if part.rule in possible and has_room else []
        if not part.is_required:
            moves.append(Move((i + 1, so_far)))
        return Stop(False, tuple(moves))

    return _living(stop)


def merged(graphs: Sequence[Moves]) -> Moves | None:
    """Returns the moves of all as one automaton, in which the same part leads to one state; None if that has too many states.

    Alternatives of one value mostly share their parts. Side by side, a backend would follow each of them for every token.
    """
    start = _without_skips(graphs, ((i, START) for i in range(len(graphs))))
    number: dict[frozenset[tuple[int, State]], State] = {start: START}
    found: Moves = {}
    for members in (todo := [start]):
        to: dict[tuple[object, ...], tuple[Move, set[tuple[int, State]]]] = {}
        for i, state in sorted(members):
            spend(3)
            for move in graphs[i][state].moves:
                if move.rule is not None:
                    label = (move.name if isinstance(move.name, str) else id(move.name), move.rule)
                    to.setdefault(label, (move, set()))[1].add((i, move.to))
        moves = []
        for move, targets in to.values():
            target = _without_skips(graphs, targets)
            if target not in number:
                if len(number) >= MAX_MERGED:
                    return None
                number[target] = (len(number), 1)
                todo.append(target)
            moves.append(replace(move, to=number[target]))
        found[number[members]] = Stop(any(graphs[i][state].may_end for i, state in members), tuple(moves))
    return found


def _without_skips(graphs: Sequence[Moves], members: Iterable[tuple[int, State]]) -> frozenset[tuple[int, State]]:
    """Adds the states that are reached by leaving properties out."""
    found = set(members)
    todo = [*found]
    while todo:
        i, state = todo.pop()
        for move in graphs[i][state].moves:
            if move.rule is None and (i, move.to) not in found:
                found.add((i, move.to))
                todo.append((i, move.to))
    return frozenset(found)


def _living(stop: Callable[[State], Stop]) -> Moves:
    """Returns all states that can be reached and from which an end can be reached."""
    found: dict[State, Stop] = {}
    before: dict[State, list[State]] = {START: []}
    for state in (todo := [START]):
        spend(3)
        found[state] = stop(state)
        for move in found[state].moves:
            if move.to not in before:
                before[move.to] = []
                todo.append(move.to)
            before[move.to].append(state)
    alive = {state for state, there in found.items() if there.may_end}
    ends = [*alive]
    while ends:
        for state in before[ends.pop()]:
            if state not in alive:
                alive.add(state)
                ends.append(state)
    if START not in alive:
        return {}
    return {
        state: Stop(there.may_end, tuple(move for move in there.moves if move.to in alive))
        for state, there in found.items() if state in alive
    }  # fmt: skip
