"""The schemas of a property, by its name, where several schemas hold together."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from workbench.errors import InvalidRequest
from workbench.grammar.ecma import NotRegular, python_pattern
from workbench.grammar.schema.clause import Clause, Entry
from workbench.grammar.schema.negate import LISTED
from workbench.grammar.schema.source import FIELD, Made, SchemaNode, SchemaSource

Matches = Callable[[str], bool]
"""Test of a pattern of `patternProperties`: whether it is found in the name."""


def values_at(source: SchemaSource, clause: Clause, name: str) -> list[SchemaNode]:
    """Returns the schemas that the value of a property has to satisfy; a name that no schema lists is like any other."""
    return values_where(source, clause, name, lambda pattern: found_in(pattern, name))


def values_where(source: SchemaSource, clause: Clause, name: str | None, matches: Matches) -> list[SchemaNode]:
    """Returns these schemas for all names of which the same patterns are found; None for a name that no schema lists."""
    found: list[SchemaNode] = []
    for entry in clause.entries:
        found += _of_entry(source, entry, name, matches)
    for entry, part in clause.each("unevaluatedProperties"):
        if not any(other.is_below(entry) and _evaluates(other, entry, name, matches) for other in clause.entries):
            found.append(source.part(part, entry.node, ".unevaluatedProperties"))
    return list(dict.fromkeys(node for node in found if node.schema is not True))


def _of_entry(source: SchemaSource, entry: Entry, name: str | None, matches: Matches) -> Iterator[SchemaNode]:
    keywords, is_listed = entry.keywords, False
    properties = _named(entry, "properties")
    if name is not None and name in properties:
        is_listed = True
        yield source.part(properties[name], entry.node, f".{name}")
    for pattern, part in _named(entry, "patternProperties").items():
        if matches(pattern):
            is_listed = True
            yield source.part(part, entry.node, f".{pattern}")
    if not is_listed and "additionalProperties" in keywords:
        yield source.part(keywords["additionalProperties"], entry.node, ".additionalProperties")


def _evaluates(entry: Entry, asked_by: Entry, name: str | None, matches: Matches) -> bool:
    if "additionalProperties" in entry.keywords or ("unevaluatedProperties" in entry.keywords and entry is not asked_by):
        return True
    return name in entry.keywords.get("properties", ()) or any(map(matches, entry.keywords.get("patternProperties", ())))


def listed_names(clause: Clause) -> list[str]:
    """Returns the names of `properties`, then those that are only required, in the schemas' order."""
    names = [name for entry in clause.entries for name in (*_named(entry, "properties"), *entry.keywords.get(LISTED, ()))]
    return list(dict.fromkeys([*names, *required_names(clause)]))


def required_names(clause: Clause) -> list[str]:
    found: dict[str, None] = {}
    for entry, names in clause.each("required"):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InvalidRequest(f"{FIELD}{entry.node.path}.required", names, "a list of names")
        found |= dict.fromkeys(names)
    return list(found)


def patterns_of(clause: Clause) -> list[str]:
    return list(dict.fromkeys(pattern for entry in clause.entries for pattern in _named(entry, "patternProperties")))


def is_closed(clause: Clause) -> bool:
    """Returns whether only listed names are generated: so it is where some are listed and no keyword is about others."""
    if any(True for keyword in ("additionalProperties", "unevaluatedProperties") for _ in clause.each(keyword)):
        return False  # the keyword decides
    return any(
        part is not False
        for entry in clause.entries
        if not isinstance(entry.node.schema, Made)
        for keyword in ("properties", "patternProperties")
        for part in _named(entry, keyword).values()
    )


def _named(entry: Entry, keyword: str) -> dict[str, Any]:
    value = entry.keywords.get(keyword, {})
    if not isinstance(value, dict):
        raise InvalidRequest(f"{FIELD}{entry.node.path}.{keyword}", value, "an object with a schema for each name")
    return value


def found_in(pattern: str, name: str) -> bool:
    return _compiled(pattern).search(name) is not None


@functools.lru_cache(256)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(python_pattern(pattern))
    except (re.error, NotRegular, RecursionError, OverflowError) as error:
        raise InvalidRequest(f"{FIELD}.patternProperties", pattern, f"a regular expression ({error})") from None
