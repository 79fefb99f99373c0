"""Merges equal rules: a schema that is written out at many places becomes one rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace

from workbench.grammar.effort import spend
from workbench.grammar.schema.forms import Array, Form, Item, Number, Object, Rules, String, Values

NumberOf = Callable[[int], int]


def shared(rules: Rules) -> Rules:
    """Returns the rules that rule 0 leads to, each once, with new numbers. The root is rule 0 again.

    Rules that lead to themselves are kept apart.
    """
    same: dict[int, int] = {}
    known: dict[Hashable, int] = {}
    for number in _children_first(rules):
        spend(5)
        key = tuple(_key(form, lambda part: same.get(part, part)) for form in rules[number])
        same[number] = known.setdefault(key, number)
    order = {same.get(0, 0): 0}
    found: Rules = []
    for number in (todo := [*order]):
        for form in rules[number]:
            for part in _parts(form):
                target = same.get(part, part)
                if target not in order:
                    order[target] = len(order)
                    todo.append(target)
        found.append(tuple(_renumbered(form, lambda part: order[same.get(part, part)]) for form in rules[number]))
    return found


def _children_first(rules: Rules) -> Iterator[int]:
    """Yields each rule that rule 0 leads to, after the rules that it leads to itself, except those that lead back to it."""
    seen = {0}
    open_: list[tuple[int, Iterator[int]]] = [(0, parts_of(rules, 0))]
    while open_:
        number, parts = open_[-1]
        part = next((part for part in parts if part not in seen), None)
        if part is None:
            open_.pop()
            yield number
        else:
            seen.add(part)
            open_.append((part, parts_of(rules, part)))


def parts_of(rules: Rules, number: int) -> Iterator[int]:
    """Yields the rules that a rule leads to."""
    return (part for form in rules[number] for part in _parts(form))


def _parts(form: Form) -> Iterator[int]:
    """Yields the rules of a form's parts."""
    if isinstance(form, Array):
        for item in (*form.first, *([form.rest] if form.rest else [])):
            yield from (rule for rule in (item.rule, item.counted, item.other) if rule is not None)
        yield from form.distinct
    elif isinstance(form, Object):
        yield from (part.rule for part in form.properties)
        yield from (rule for _, rule in form.others + form.last)


def _renumbered(form: Form, number: NumberOf) -> Form:
    if isinstance(form, Array):
        rest = _item(form.rest, number) if form.rest else None
        first = tuple(_item(item, number) for item in form.first)
        return replace(form, first=first, rest=rest, distinct=tuple(map(number, form.distinct)))
    if isinstance(form, Object):
        properties = tuple(replace(part, rule=number(part.rule)) for part in form.properties)
        others, last = (tuple((names, number(rule)) for names, rule in parts) for parts in (form.others, form.last))
        return replace(form, properties=properties, others=others, last=last)
    return form


def _item(item: Item, number: NumberOf) -> Item:
    counted, other = (None if rule is None else number(rule) for rule in (item.counted, item.other))
    return Item(number(item.rule), counted, other)


def _key(form: Form, number: NumberOf) -> Hashable:
    """Returns a key that equal forms have in common."""
    match form:
        case Values(values):
            return "values", tuple(map(json.dumps, values))
        case Number(is_integer, language):
            return "number", is_integer, language
        case String(language, limit):
            return "string", language, limit
        case Array():
            items = [*form.first, form.rest] if form.rest else form.first
            rules = tuple(tuple(part if part is None else number(part) for part in (i.rule, i.counted, i.other)) for i in items)
            return "array", rules, form.rest is None, form.low, form.high, form.need, form.most, tuple(map(number, form.distinct))
        case Object():
            listed = tuple((part.name, number(part.rule), part.is_required) for part in form.properties)
            others, last = (tuple((names, number(rule)) for names, rule in parts) for parts in (form.others, form.last))
            return "object", listed, others, last, form.low, form.high, form.is_closed
