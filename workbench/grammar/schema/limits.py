"""Finds the strings whose limit can be left to a matcher that counts: those in whose place no other string may stand.

The matcher has one limit for its current string. If a grammar has begun two strings at once, such as those of two objects of an
`anyOf` that have the same property, both must have this limit, or the other is never longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workbench.grammar.effort import spend
from workbench.grammar.schema.clause import spelled
from workbench.grammar.schema.forms import Array, Form, Object, Rules, String, Values


def disputed(rules: Rules) -> set[String]:
    """Returns the strings with a limit that the grammar itself must count."""
    forms = [form for forms in rules for form in forms]
    limited = {form for form in forms if isinstance(form, String) and form.limit is not None}
    if not limited:
        return set()
    listed = [value for form in forms if isinstance(form, Values) for value in form.values if not isinstance(value, str)]
    longest = max(map(_longest, listed), default=0)  # anywhere in its array or object
    return {form for form in limited if (form.limit or 0) < longest} | _Pairs(rules).disputed()


def _longest(value: Any) -> int:
    """Returns the length of the longest string in a value."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return len(value) if isinstance(value, str) else max(map(_longest, parts), default=0)


class _Pairs:
    """Pairs of rules that may both hold for one value, as far as the text before it shows."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.todo = [(i, i) for i in range(len(rules))]
        self.seen = set(self.todo)
        self.texts: dict[int, set[str]] = {}

    def disputed(self) -> set[String]:
        found: set[String] = set()
        while self.todo:
            a, b = self.todo.pop()
            for i, form in enumerate(self.rules[a]):
                for other in self.rules[b][i if a == b else 0 :]:
                    spend(1)
                    found |= _disputed(form, other)
                    for pair in self.inside(form, other):
                        pair = (min(pair), max(pair))
                        if pair not in self.seen:
                            self.seen.add(pair)
                            self.todo.append(pair)
        return found

    def inside(self, a: Form, b: Form) -> Iterable[tuple[int, int]]:
        """Returns the pairs for the parts of a value of both forms."""
        if isinstance(a, Array) and isinstance(b, Array):
            for i in range(max(len(a.first), len(b.first)) + 1):
                yield from ((x, y) for x in _items(a, i) for y in _items(b, i))
        elif isinstance(a, Object) and isinstance(b, Object) and (a is not b or a.last):  # else its own names are apart
            yield from self.properties(a, b)

    def properties(self, a: Object, b: Object) -> Iterable[tuple[int, int]]:
        """Returns the pairs of one name, until a property before them distinguishes the objects: properties keep their order."""
        places = {part.name: i for i, part in enumerate(b.properties)}
        end, are_apart = len(places), False
        for part in a.properties:
            spend(1)
            if part.name not in places:
                if not are_apart:
                    others = b.others + b.last
                    yield from ((part.rule, rule) for names, rule in others if names is None or names.accepts(part.name))
            elif places[part.name] < end:
                other = b.properties[places[part.name]]
                yield part.rule, other.rule
                if part.is_required and other.is_required and self.are_apart(part.rule, other.rule):
                    end, are_apart = places[part.name], True
        for names, rule in a.others + a.last:
            yield from ((rule, part.rule) for part in b.properties[:end] if names is None or names.accepts(part.name))
            if not are_apart:
                yield from ((rule, other) for _, other in b.others + b.last)

    def are_apart(self, a: int, b: int) -> bool:
        """Returns whether both rules list their values and have none in common."""
        forms = [*self.rules[a], *self.rules[b]]
        if not all(isinstance(form, Values) for form in forms):
            return False
        return not self.values(a) & self.values(b)

    def values(self, rule: int) -> set[str]:
        if rule not in self.texts:
            forms = (form for form in self.rules[rule] if isinstance(form, Values))
            self.texts[rule] = {spelled(value) for form in forms for value in form.values}
        return self.texts[rule]


def _items(form: Array, i: int) -> set[int]:
    """Returns the rules that an item may have."""
    item = form.first[i] if i < len(form.first) else form.rest
    return set(form.distinct) if item is None else {rule for rule in (item.rule, item.counted, item.other) if rule is not None}


def _disputed(a: Form, b: Form) -> set[String]:
    """Returns the strings of two forms that cannot be counted, because the other may stand in their place too."""
    pairs = ((a, b), (b, a)) if a is not b else ()
    return {form for form, other in pairs if isinstance(form, String) and not _may_stand_beside(form, other)}


def _may_stand_beside(form: String, other: Form) -> bool:
    if form.limit is None:
        return True
    if isinstance(other, Values):
        return all(len(value) <= form.limit for value in other.values if isinstance(value, str))
    return not isinstance(other, String) or other.limit == form.limit
