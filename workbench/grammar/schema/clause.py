"""Schemas that hold together at one value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workbench.grammar.schema.negate import NOT_MULTIPLE, NOT_PATTERN, SOME, TYPES, types_of
from workbench.grammar.schema.source import SchemaNode

OF_TYPE = {
    "string": {"minLength", "maxLength", "pattern", "format", NOT_PATTERN},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", NOT_MULTIPLE},
    "array": {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "unevaluatedItems"},
    "object": {
        *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
        *("minProperties", "maxProperties", "unevaluatedProperties", SOME),
    },
}
"""Keywords that ask for something of one type of values."""
_WORDS = re.compile(r"\^([\w-]+|\([\w|-]+\))\$", re.ASCII)


@dataclass(frozen=True, eq=False)
class Entry:
    """One schema that holds, and the one it is a branch of."""

    node: SchemaNode
    keywords: dict[str, Any]
    parent: Entry | None

    def is_below(self, other: Entry) -> bool:
        """Returns whether it is `other`, or a branch of it at whatever depth."""
        entry: Entry | None = self
        while entry is not None and entry is not other:
            entry = entry.parent
        return entry is other

    @cached_property
    def types(self) -> frozenset[str] | None:
        """The types that it names or whose values it lists; None for all."""
        types = types_of(self.keywords["type"]) if "type" in self.keywords else None
        if (values := self.values) is not None:
            of_values = frozenset(map(type_of, values))
            types = of_values if types is None else types & of_values
        return types

    @property
    def values(self) -> list[Any] | None:
        """The values it lists with `const` or `enum`, or with a pattern of whole words only."""
        if "const" in self.keywords:
            return [self.keywords["const"]]
        found: list[Any] | None = self.keywords.get("enum")
        if found is None and self.keywords.get("type") == "string":
            words = _WORDS.fullmatch(self.keywords.get("pattern", ""))
            found = words[1].strip("()").split("|") if words else None
        return found

    @cached_property
    def spelled(self) -> dict[str, Any]:
        """The values it lists, by a text that equal values have in common."""
        return {spelled(value): value for value in reversed(self.values or [])}


@dataclass(frozen=True, eq=False)
class Clause:
    """Schemas that hold together, and others that must not hold."""

    entries: tuple[Entry, ...] = ()
    negatives: tuple[SchemaNode, ...] = ()

    def __add__(self, other: Clause) -> Clause:
        return Clause(self.entries + other.entries, self.negatives + other.negatives)

    @cached_property
    def types(self) -> frozenset[str]:
        named = [entry.types for entry in self.entries if entry.types is not None]
        return frozenset(TYPES).intersection(*named)

    @property
    def names_types(self) -> bool:
        return any(entry.types is not None for entry in self.entries)

    @cached_property
    def meant(self) -> frozenset[str]:
        """The types of what is generated. Where none is named, keywords imply them: `{"minLength": 1}` means strings."""
        if self.names_types:
            return self.types
        names = {name for name, keywords in OF_TYPE.items() for entry in self.entries if keywords & entry.keywords.keys()}
        if "number" in names:
            names |= {"integer", "fraction"}
        return frozenset(names & set(TYPES)) or frozenset(TYPES)

    @cached_property
    def values(self) -> list[Any] | None:
        """The values that all its lists have in common."""
        lists = [entry.spelled for entry in self.entries if entry.values is not None]
        if not lists:
            return None
        return [value for key, value in reversed(lists[0].items()) if all(key in other for other in lists[1:])]

    @property
    def is_empty(self) -> bool:
        """True if it plainly holds for no value."""
        return not self.types or self.values == []

    def each(self, keyword: str) -> Iterator[tuple[Entry, Any]]:
        return ((entry, entry.keywords[keyword]) for entry in self.entries if keyword in entry.keywords)


def type_of(value: Any) -> str:
    """Returns the type of a JSON value, `integer` also for 1.0."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if value == value // 1 else "fraction"
    return {str: "string", list: "array", dict: "object", type(None): "null"}[type(value)]


def spelled(value: Any) -> str:
    """Returns a text that equal values have in common."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, list):
        return f"[{','.join(map(spelled, value))}]"
    elif isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{spelled(value[name])}" for name in sorted(value)) + "}"
    return json.dumps(value)
