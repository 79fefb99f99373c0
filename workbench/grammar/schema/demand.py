"""Fixed text that the rules of a schema demand in a row: too much is refused before a backend writes it down."""

from __future__ import annotations

import functools
import heapq
import json
import math
from collections import defaultdict, deque

from workbench.grammar.language import Language
from workbench.grammar.schema.forms import Array, Form, Number, Object, Rules, String, Values
from workbench.grammar.schema.share import parts_of
from workbench.grammar.shortest import MAX_FIXED, MAX_RECURSIVE

SEPARATOR = 2
"""Bytes of `, ` and of `: `."""


def too_long(rules: Rules) -> str:
    """Returns the limit on fixed text that some rule exceeds, in words; an empty text where none does."""
    users: dict[int, set[int]] = defaultdict(set)
    for number in range(len(rules)):
        for part in parts_of(rules, number):
            users[part].add(number)
    shortest = _shortest(rules, users)
    for number, forms in enumerate(rules):
        demand = int(max((_demand(form, shortest) for form in forms), default=0))
        if demand > MAX_FIXED or (demand > MAX_RECURSIVE and _is_recursive(number, users)):
            most = MAX_FIXED if demand > MAX_FIXED else MAX_RECURSIVE
            return f"at most {most:,} bytes of fixed text in a row (a part of it has {demand:,})"
    return ""


def _shortest(rules: Rules, users: dict[int, set[int]]) -> list[float]:
    """Returns for each rule the bytes of fixed text that its values cannot do without."""
    shortest = [math.inf] * len(rules)
    todo = deque(reversed(range(len(rules))))
    while todo:
        number = todo.popleft()
        length = min((_least(form, shortest) for form in rules[number]), default=math.inf)
        if length < shortest[number]:
            shortest[number] = length
            todo += users[number]
    return shortest


def _is_recursive(number: int, users: dict[int, set[int]]) -> bool:
    found: set[int] = set()
    todo = [number]
    while todo:
        more = users[todo.pop()] - found
        found |= more
        todo += more
    return number in found


def _demand(form: Form, shortest: list[float]) -> float:
    """Returns the fixed text of the form's longest alternative."""
    return max(map(_num_bytes, form.values)) if isinstance(form, Values) and form.values else _least(form, shortest)


def _least(form: Form, shortest: list[float]) -> float:
    """Returns the fixed text that no value of the form does without."""
    match form:
        case Values(values):
            return min(map(_num_bytes, values), default=math.inf)
        case Number(language=language) | String(language=language):
            return 0 if language is None else _fixed(language)
        case Array():
            items = [form.first[i] if i < len(form.first) else form.rest for i in range(min(form.low, len(form.first) + 1))]
            rules = [shortest[item.rule] + SEPARATOR for item in items if item is not None]
            num_more = max(form.low - len(items), 0)
            return sum(rules) + (num_more * rules[-1] if num_more and rules else 0)  # no items of infinite length are no length
        case Object():
            required = (part for part in form.properties if part.is_required)
            return sum(len(part.name) + 2 * SEPARATOR + shortest[part.rule] for part in required)


def _num_bytes(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@functools.lru_cache(512)
def _fixed(language: Language) -> int:
    """Returns the characters of the text with the fewest that are not chosen among several."""
    least = {0: 0}
    todo = [(0, 0)]
    while todo:
        length, state = heapq.heappop(todo)
        if language.final[state]:
            return length
        if length > least[state]:
            continue
        for target, ranges in language.moves(state).items():
            after = length + (len(ranges) == 1 and ranges[0][0] == ranges[0][1])
            if after < least.get(target, after + 1):
                least[target] = after
                heapq.heappush(todo, (after, target))
    return 0
