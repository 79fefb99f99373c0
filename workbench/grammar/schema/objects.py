"""Objects of a clause: their properties in order, the languages of further names, and how many there may be."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from workbench.errors import InvalidRequest
from workbench.grammar.ecma import NotRegular
from workbench.grammar.effort import TooLarge
from workbench.grammar.language import Language, all_but, everything, words
from workbench.grammar.pattern import BadPattern, pattern_language
from workbench.grammar.schema.arrays import RuleOf
from workbench.grammar.schema.clause import Clause
from workbench.grammar.schema.forms import Object, Property
from workbench.grammar.schema.names import (
    is_closed,
    listed_names,
    patterns_of,
    required_names,
    values_at,
    values_where,
)
from workbench.grammar.schema.negate import SOME
from workbench.grammar.schema.scalars import count
from workbench.grammar.schema.source import FIELD, SchemaNode, SchemaSource

MAX_PATTERNS, MAX_CHOICES = 24, 16
Names = tuple[Language | None, list[SchemaNode]]
"""A language of names (None: every name), and the schemas that their values have to satisfy."""
NamesOf = Callable[[list[SchemaNode]], Language | None]
"""The language of the strings that satisfy all these schemas; None for all strings."""


def object_forms(source: SchemaSource, clause: Clause, rule_of: RuleOf, names_of: NamesOf) -> Iterator[Object]:
    """Yields the forms of the objects of a clause: one, or where some property must be like this or that, one for each choice
    of such properties."""
    objects = _Objects(source, clause, rule_of, names_of)
    for choice in objects.choices():
        found = objects.form(choice)
        if found is not None:
            yield found


class _Objects:
    def __init__(self, source: SchemaSource, clause: Clause, rule_of: RuleOf, names_of: NamesOf) -> None:
        self.source, self.clause, self.rule_of = source, clause, rule_of
        names = [source.part(part, entry.node, ".propertyNames") for entry, part in clause.each("propertyNames")]
        self.allowed = names_of(names) if names else None
        self.may_close = is_closed(clause) and not any(name.schema is False for name in names)
        self.listed = {name: self._values_at(name) for name in listed_names(clause)}
        self.required = set(required_names(clause))
        self.some: list[Names] = [
            (names_of([source.node(names, entry.node.path)]), [source.node(value, entry.node.path)])
            for entry, pairs in clause.each(SOME)
            for names, value in pairs
        ]
        """Properties of which each must be there: of a name, with a value."""

    def _values_at(self, name: str) -> list[SchemaNode]:
        if self.allowed is not None and not self.allowed.accepts(name):
            return [SchemaNode(False, "")]
        return values_at(self.source, self.clause, name)

    def choices(self) -> Iterator[tuple[str | None, ...]]:
        """Yields for each of `some` a listed name; or None for another one, unless that is left out."""
        found: list[list[str | None]] = []
        for names, _ in self.some:
            listed: list[str | None] = [
                name for name, nodes in self.listed.items() if _may_be(nodes) and (names is None or names.accepts(name))
            ]
            found.append(listed[:MAX_CHOICES] if self.may_close and listed else [*listed[:MAX_CHOICES], None])
        return itertools.islice(itertools.product(*found), MAX_CHOICES)

    def form(self, choice: tuple[str | None, ...]) -> Object | None:
        """Returns the objects in which these properties are as they must be; None if there is none."""
        required = self.required | {name for name in choice if name is not None}
        properties = []
        for name, nodes in self.listed.items():
            more = [node for which, (_, wanted) in zip(choice, self.some, strict=True) if which == name for node in wanted]
            if name in required or _may_be(nodes):
                properties.append(Property(name, self.rule_of([*nodes, *more]), name in required))
        last: list[Names] = []
        if None in choice:
            last = self._last([names for which, names in zip(choice, self.some, strict=True) if which is None])
            if not last:
                return None
        low, high = self._limits()
        closed = self.may_close and low <= len(properties) + bool(last)
        others = _others(self.source, self.clause, [*self.listed], self.allowed, closed)
        least = max(1, len(required) + bool(last))
        if others and low > least:
            node = next(entry.node for entry, _ in self.clause.each("minProperties"))
            self.source.drop(node, f"minProperties {low}, as names may come twice")
            low = least
        return Object(tuple(properties), self._rules(others), low, high, closed, self._rules(last))

    def _last(self, some: list[Names]) -> list[Names]:
        """Returns the names of a property that is as all of `some` must be: in one, since a later one of the same name counts."""
        allowed, more = self.allowed, []
        for names, nodes in some:
            allowed = names if allowed is None else allowed if names is None else allowed & names
            more += nodes
        others = _others(self.source, self.clause, [*self.listed], allowed, closed=False)
        return [(names, [*nodes, *more]) for names, nodes in others]

    def _limits(self) -> tuple[int, int | None]:
        each = self.clause.each
        low = max((count(value, entry.node, "minProperties") for entry, value in each("minProperties")), default=0)
        return low, min((count(value, entry.node, "maxProperties") for entry, value in each("maxProperties")), default=None)

    def _rules(self, parts: list[Names]) -> tuple[tuple[Language | None, int], ...]:
        return tuple((names, self.rule_of(nodes)) for names, nodes in parts)


def _may_be(nodes: list[SchemaNode]) -> bool:
    return not any(node.schema is False for node in nodes)


def _others(source: SchemaSource, clause: Clause, listed: list[str], allowed: Language | None, closed: bool) -> list[Names]:
    """Returns the names that are not listed, apart by the schemas that their values have to satisfy."""
    patterns = patterns_of(clause)
    if not patterns and closed:
        return []
    found: dict[tuple[SchemaNode, ...], Language | None] = {}
    for held, language in _classes(source, clause, patterns, allowed):
        if not held and closed:
            continue
        nodes = values_where(source, clause, None, held.__contains__)
        if any(node.schema is False for node in nodes):
            continue
        language = _but(language, listed)
        key = tuple(nodes)
        if language is None or not language.is_empty:
            before = found.get(key)
            found[key] = language if before is None or language is None else before | language
    return [(language, list(nodes)) for nodes, language in found.items()]


def _classes(
    source: SchemaSource, clause: Clause, patterns: list[str], allowed: Language | None
) -> list[tuple[frozenset[str], Language | None]]:
    """Names apart by the patterns that are found in them; None: every name."""
    classes: list[tuple[frozenset[str], Language | None]] = [(frozenset(), allowed)]
    for pattern, (surely, perhaps) in _known(source, clause, patterns).items():
        split: list[tuple[frozenset[str], Language | None]] = []
        for held, language in classes:
            inside = surely if language is None else language & surely
            outside = (everything() if language is None else language) - perhaps
            split += [(held | {pattern}, inside)] * (not inside.is_empty) + [(held, outside)] * (not outside.is_empty)
        classes = split
    return classes


def _but(language: Language | None, listed: list[str]) -> Language | None:
    """Returns the language without the names that are listed."""
    if language is None:
        return all_but(listed) if listed else None
    inside = [name for name in listed if language.accepts(name)]
    return language - words(inside) if inside else language


def _known(source: SchemaSource, clause: Clause, patterns: list[str]) -> dict[str, tuple[Language, Language]]:
    """Returns the names in which a pattern is surely found, and in which it perhaps is."""
    known: dict[str, tuple[Language, Language]] = {}
    for pattern in patterns:
        node = next(entry.node for entry, parts in clause.each("patternProperties") if pattern in parts)
        try:
            if len(known) == MAX_PATTERNS:
                raise TooLarge(f"more than {MAX_PATTERNS}")
            known[pattern] = pattern_language(pattern), pattern_language(pattern, generous=True)
        except BadPattern as error:
            raise InvalidRequest(f"{FIELD}{node.path}.patternProperties", pattern, f"a regular expression ({error})") from None
        except (NotRegular, TooLarge) as error:
            source.drop(node, f"patternProperties {pattern!r} ({error})")
    return known
