"""Objects of a clause: their properties in order, the languages of further names, and how many there may be."""

from __future__ import annotations

from collections.abc import Callable

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
from workbench.grammar.schema.scalars import count
from workbench.grammar.schema.source import FIELD, Node, Source

MAX_PATTERNS = 24
NamesOf = Callable[[list[Node]], Language | None]
"""The language of the strings that satisfy all these schemas; None for all strings."""


def object_form(source: Source, clause: Clause, rule_of: RuleOf, names_of: NamesOf) -> Object:
    names = [source.part(part, entry.node, ".propertyNames") for entry, part in clause.each("propertyNames")]
    allowed = names_of(names) if names else None
    required = set(required_names(clause))
    listed = listed_names(clause)
    properties = []
    for name in listed:
        nodes = values_at(source, clause, name)
        if allowed is not None and not allowed.accepts(name):
            nodes = [Node(False, "")]
        if name in required or not any(node.schema is False for node in nodes):
            properties.append(Property(name, rule_of(nodes), name in required))
    low = max((count(value, entry.node, "minProperties") for entry, value in clause.each("minProperties")), default=0)
    high = min((count(value, entry.node, "maxProperties") for entry, value in clause.each("maxProperties")), default=None)
    closed = is_closed(clause) and low <= len(properties) and not any(name.schema is False for name in names)
    others = _others(source, clause, listed, allowed, closed)
    if others and low > max(1, len(required)):
        source.drop(
            next(entry.node for entry, _ in clause.each("minProperties")), f"minProperties {low}, as names may come twice"
        )
        low = max(1, len(required))
    return Object(tuple(properties), tuple((names, rule_of(nodes)) for names, nodes in others), low, high, closed)


def _others(
    source: Source, clause: Clause, listed: list[str], allowed: Language | None, closed: bool
) -> list[tuple[Language | None, list[Node]]]:
    """The names that are not listed, apart by the schemas that their values have to satisfy."""
    patterns = patterns_of(clause)
    if not patterns and closed:
        return []
    found: dict[tuple[Node, ...], Language | None] = {}
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
    source: Source, clause: Clause, patterns: list[str], allowed: Language | None
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
    """The language without the names that are listed."""
    if language is None:
        return all_but(listed) if listed else None
    inside = [name for name in listed if language.accepts(name)]
    return language - words(inside) if inside else language


def _known(source: Source, clause: Clause, patterns: list[str]) -> dict[str, tuple[Language, Language]]:
    """The names in which a pattern is surely found, and in which it perhaps is."""
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
