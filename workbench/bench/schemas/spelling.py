"""Writes instances as JSON text: with properties in the schema's order, and in other ways until a reader takes one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from workbench.bench.schemas.readers import Position

APPLIED = ("$ref", "$dynamicRef", "$recursiveRef")
CONDITIONAL = ("if", "then", "else")
TYPED = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "unevaluatedItems"),
    "object": (
        *("properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties"),
        *("propertyNames", "dependencies", "dependentRequired", "dependentSchemas", "unevaluatedProperties"),
    ),
}
"""Keywords that speak of one type."""
Path = tuple[str | int, ...]
SEPARATORS = ((", ", ": "), (",", ":"))
MAX_TRIES, FEW_TRIES = 2000, 60
"""Pieces of text offered to a reader for one instance; for one that should not be taken, most orders fail alike."""


class Layout:
    """The order in which a schema lists the properties of an object, at every place of an instance."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def ordered(self, value: Any) -> Any:
        """Returns `value` with the listed properties of every object first, in the schema's order, and the others behind them."""
        return self._ordered(value, [self._root])

    def unlisted(self, value: Any) -> frozenset[Path]:
        """Returns the members of objects, and the items, that their schema does not list beside others."""
        found: list[Path] = []
        for path, inner, parts in self._places(value, [self._root], ()):
            if isinstance(inner, dict) and not _any(parts, "additionalProperties", "unevaluatedProperties"):
                listing = [part for part in parts if part.get("properties") or part.get("patternProperties")]
                found += [(*path, name) for name in inner if not all(_listing(part, name) for part in listing)]
            elif isinstance(inner, list) and not _any(parts, "additionalItems", "unevaluatedItems"):
                fixed = [_fixed(part) for part in parts if _fixed(part) and not isinstance(part.get("items"), dict | bool)]
                found += [(*path, i) for i in range(len(inner)) if any(i >= len(items) for items in fixed)]
        return frozenset(found)

    def has_other_type(self, value: Any) -> bool:
        """Returns whether a schema without `type` has only keywords of other types than its value's."""
        for _, inner, parts in self._places(value, [self._root], ()):
            if _any(parts, "type", "enum", "const"):
                continue
            types = {name for name, keywords in TYPED.items() if _any(parts, *keywords)}
            if types and _type(inner) not in types:
                return True
        return False

    def _ordered(self, value: Any, schemas: list[Any]) -> Any:
        if not isinstance(value, dict | list):
            return value
        parts = self._all_parts(schemas, value)
        if isinstance(value, list):
            return [self._ordered(item, _below(parts, i)) for i, item in enumerate(value)]
        listed = dict.fromkeys(name for part in parts for name in _dict(part.get("properties")))
        names = [*(name for name in listed if name in value), *(name for name in value if name not in listed)]
        return {name: self._ordered(value[name], _below(parts, name)) for name in names}

    def _places(self, value: Any, schemas: list[Any], path: Path) -> Iterator[tuple[Path, Any, list[dict[str, Any]]]]:
        """Yields every place of an instance, its value, and the schemas that apply to it."""
        parts = self._all_parts(schemas, value)
        yield path, value, parts
        members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in members:
            yield from self._places(inner, _below(parts, key), (*path, key))

    def _all_parts(self, schemas: list[Any], value: Any) -> list[dict[str, Any]]:
        return [part for schema in schemas for part in self._parts(schema, value)]

    def _parts(self, schema: Any, value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
        """Returns the schema, and those that apply at the same place; the branch that lists most of the value comes first."""
        if not isinstance(schema, dict) or depth > 20:
            return
        yield schema
        inner = [self._find(schema[key]) for key in APPLIED if key in schema]
        inner += _list(schema.get("allOf"))
        for branches in (_list(schema.get("anyOf")), _list(schema.get("oneOf"))):
            inner += sorted(branches, key=lambda branch: -self._num_listed(branch, value))
        inner += [schema[key] for key in CONDITIONAL if key in schema]
        dependent = [*_dict(schema.get("dependentSchemas")).items(), *_dict(schema.get("dependencies")).items()]
        inner += [part for name, part in dependent if name in _dict(value)]
        for branch in inner:
            yield from self._parts(branch, value, depth + 1)

    def _num_listed(self, schema: Any, value: Any) -> int:
        parts = [schema, self._find(_dict(schema).get("$ref"))]
        return sum(name in _dict(_dict(part).get("properties")) for part in parts for name in _dict(value))

    def _find(self, reference: Any) -> Any:
        """Returns the target of a reference inside the document."""
        found = self._root
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        for step in reference[1:].split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and step.isdigit() and int(step) < len(found):
                found = found[int(step)]
            elif isinstance(found, dict) and step in found:
                found = found[step]
            else:
                return None
        return found


def _below(parts: list[dict[str, Any]], key: str | int) -> list[Any]:
    return [inner for part in parts for inner in (_of_item(part, key) if isinstance(key, int) else _of_property(part, key))]


def _of_property(schema: dict[str, Any], name: str) -> list[Any]:
    return _listing(schema, name) or [schema.get("additionalProperties")]


def _listing(schema: dict[str, Any], name: str) -> list[Any]:
    """Returns the schemas of `properties` and `patternProperties` for a name."""
    listed = _dict(schema.get("properties"))
    found = [listed[name]] if name in listed else []
    for pattern, inner in _dict(schema.get("patternProperties")).items():
        try:
            found += [inner] if re.search(pattern, name) else []
        except re.error:
            continue
    return found


def _of_item(schema: dict[str, Any], index: int) -> list[Any]:
    items = schema.get("items")
    fixed = _fixed(schema)
    if index < len(fixed):
        return [fixed[index]]
    return [schema.get("additionalItems") if isinstance(items, list) else items]


def _fixed(schema: dict[str, Any]) -> list[Any]:
    return _list(schema.get("prefixItems")) or _list(schema.get("items"))


def _any(parts: list[dict[str, Any]], *keywords: str) -> bool:
    return any(keyword in part for part in parts for keyword in keywords)


def _type(value: Any) -> str:
    kinds = {str: "string", int: "number", float: "number", list: "array", dict: "object"}
    return kinds.get(type(value), "other")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class Ways:
    """Searches for a way to write a value that a reader takes: properties in any order and, where asked for, other spellings."""

    def __init__(self, *, numbers: bool = False, separators: bool = False, max_tries: int = MAX_TRIES) -> None:
        self._numbers = numbers
        self._separators = SEPARATORS if separators else SEPARATORS[:1]
        self._tries, self._max_tries = 0, max_tries
        self._without: frozenset[Path] = frozenset()

    def fits(self, start: Position, value: Any, without: frozenset[Path] = frozenset()) -> bool:
        """Returns whether the position takes the value in one of these ways, also without the members in `without`."""
        self._tries, self._without = 0, without
        try:
            return any(end.is_complete for end in self._after(start, value, ()))
        except RecursionError:
            return False

    def _after(self, at: Position, value: Any, path: Path) -> Iterator[Position]:
        if isinstance(value, dict):
            for separators in self._separators if value else SEPARATORS[:1]:
                yield from self._members(at, "{", value, [*value], separators, path)
        elif isinstance(value, list):
            for comma, _ in self._separators if len(value) > 1 else SEPARATORS[:1]:
                yield from self._items(at, "[", value, 0, comma, path)
        else:
            for text in self._spelled(value):
                yield from self._fed(at, text)

    def _members(
        self, at: Position, before: str, value: dict[str, Any], rest: list[str], separators: tuple[str, str], path: Path
    ) -> Iterator[Position]:
        comma, colon = separators
        for i, name in enumerate(rest):
            for there in self._fed(at, before + written(name) + colon):
                for then in self._after(there, value[name], (*path, name)):
                    yield from self._members(then, comma, value, rest[:i] + rest[i + 1 :], separators, path)
        if all((*path, name) in self._without for name in rest):
            yield from self._fed(at, "{}" if before == "{" else "}")

    def _items(self, at: Position, before: str, value: list[Any], index: int, comma: str, path: Path) -> Iterator[Position]:
        if all((*path, i) in self._without for i in range(index, len(value))):
            yield from self._fed(at, "[]" if before == "[" else "]")
        if index == len(value):
            return
        for there in self._fed(at, before):
            for then in self._after(there, value[index], (*path, index)):
                yield from self._items(then, comma, value, index + 1, comma, path)

    def _fed(self, at: Position, text: str) -> Iterator[Position]:
        self._tries += 1
        if self._tries > self._max_tries:
            return
        there = at.fork()
        if there.feed(text.encode("utf-8", "surrogatepass")):
            yield there

    def _spelled(self, value: Any) -> list[str]:
        texts = [written(value)]
        if self._numbers and isinstance(value, int | float) and not isinstance(value, bool):
            if value == int(value):
                texts += [str(int(value)), f"{int(value)}.0"]
            texts += [f"{value:f}".rstrip("0").rstrip("."), f"{value:e}"]
        return [*dict.fromkeys(texts)]
