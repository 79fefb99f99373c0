"""The negation of a schema as another schema.

The result may be narrower than the whole negation: every value that satisfies it fails the schema, and some values that fail
it may be left out, where no schema has them. So a constraint made of it is narrower than it could be, and never wider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from workbench.grammar.schema.source import Made, SchemaNode, SchemaSource

TYPES = ("null", "boolean", "integer", "fraction", "string", "array", "object")
"""`number` is `integer` and `fraction`, which is no type of JSON Schema."""
NOT_ENUM, NOT_PATTERN, NOT_MULTIPLE, SOME, LISTED = "!enum", "!pattern", "!multipleOf", "!some", "!listed"
"""Keywords of our own: none of these values; not matching; no multiple of; for each pair of schemas, some property whose name
satisfies the one and whose value the other; names that may come, about which nothing is said."""
Schema = dict[str, Any]


def negation(source: SchemaSource, node: SchemaNode) -> SchemaNode:
    """Returns a schema of the values that fail `node`, one level deep: parts of it are left as `not`."""
    if isinstance(node.schema, bool):
        return source.node(not node.schema, node.path)
    keywords = source.keywords(node)

    def make() -> Made:
        alternatives: list[Schema | bool] = []
        for keyword in sorted(keywords.keys() & _NEGATED.keys(), key=list(_NEGATED).index):
            alternatives += _NEGATED[keyword](keywords[keyword], keywords, source, node)
        return Made(anyOf=alternatives)

    return source.made("not", node, make)


def is_whole(source: SchemaSource, node: SchemaNode) -> bool:
    """Returns whether the negation of a node leaves nothing out, so that no alternative means no value."""
    if isinstance(node.schema, bool):
        return True
    keywords = source.keywords(node)
    return not _LEFT_OUT & keywords.keys() and not {"items", "prefixItems"} <= keywords.keys()


_LEFT_OUT = {"format", "uniqueItems", "minContains", "maxContains", "unevaluatedItems", "unevaluatedProperties"}


def types_of(value: Any) -> frozenset[str]:
    """Returns the types that the keyword `type` names."""
    named = [value] if isinstance(value, str) else value
    found: set[str] = set()
    for name in named:
        found |= {"integer", "fraction"} if name == "number" else {name}
    return frozenset(found)


Alternatives = Iterator[Schema | bool]
Negated = Callable[[Any, Schema, SchemaSource, SchemaNode], Alternatives]


def _type(value: Any, *_: Any) -> Alternatives:
    yield Made({"type": [name for name in TYPES if name not in types_of(value)]})


def _bound(type_: str, opposite: str, change: int = 0) -> Negated:
    """Negates a bound by its opposite; `change` makes that of a whole number the next one."""

    def negated(value: Any, *_: Any) -> Alternatives:
        if not (change < 0 and value <= 0):
            yield Made({"type": type_, opposite: value + change})

    return negated


def _ours(type_: str | None, keyword: str) -> Negated:
    def negated(value: Any, *_: Any) -> Alternatives:
        beside = {"type": type_} if type_ else {}
        yield Made({**beside, keyword: value if keyword == NOT_ENUM else [value]})

    return negated


def _const(value: Any, *_: Any) -> Alternatives:
    yield Made({NOT_ENUM: [value]})


def _required(names: Any, *_: Any) -> Alternatives:
    for name in names:
        yield Made({"type": "object", "properties": {name: False}})


def _properties(properties: Any, _: Schema, source: SchemaSource, __: SchemaNode) -> Alternatives:
    for name, part in properties.items():
        yield Made({"type": "object", "required": [name], "properties": {name: source.opposite(part)}})


def _property_names(part: Any, _: Schema, source: SchemaSource, __: SchemaNode) -> Alternatives:
    yield Made({"type": "object", SOME: [[source.opposite(part), True]]})


def _pattern_properties(patterns: Any, _: Schema, source: SchemaSource, __: SchemaNode) -> Alternatives:
    for pattern, part in patterns.items():
        if part is not True:
            yield Made({"type": "object", SOME: [[Made(pattern=pattern), source.opposite(part)]]})


def _additional_properties(part: Any, keywords: Schema, source: SchemaSource, _: SchemaNode) -> Alternatives:
    if part is not True:
        listed, patterns = keywords.get("properties", ()), keywords.get("patternProperties", ())
        names = Made({"type": "string", NOT_ENUM: [*listed], NOT_PATTERN: [*patterns]})
        yield Made({"type": "object", SOME: [[names, source.opposite(part)]]})


def _items(part: Any, keywords: Schema, source: SchemaSource, _: SchemaNode) -> Alternatives:
    if "prefixItems" not in keywords:
        yield Made({"type": "array", "contains": source.opposite(part)})


def _prefix_items(parts: Any, _: Schema, source: SchemaSource, __: SchemaNode) -> Alternatives:
    for i, part in enumerate(parts):
        yield Made({"type": "array", "prefixItems": [*([True] * i), source.opposite(part)], "minItems": i + 1, "items": True})


def _contains(part: Any, keywords: Schema, source: SchemaSource, _: SchemaNode) -> Alternatives:
    if keywords.get("minContains", 1) == 1:
        yield Made({"type": "array", "items": source.opposite(part)})


def _dependent_required(names: Any, *_: Any) -> Alternatives:
    for name, others in names.items():
        for other in others:
            yield Made({"type": "object", "required": [name], "properties": {other: False}})


def _dependent_schemas(schemas: Any, *_: Any) -> Alternatives:
    for name, part in schemas.items():
        yield Made({"type": "object", "required": [name], "not": part})


def _all_of(parts: Any, _: Schema, source: SchemaSource, __: SchemaNode) -> Alternatives:
    for part in parts:
        yield source.opposite(part)


def _any_of(parts: Any, _: Schema, source: SchemaSource, __: SchemaNode) -> Alternatives:
    yield Made({"allOf": [source.opposite(part) for part in parts]})


def _one_of(parts: Any, _: Schema, source: SchemaSource, __: SchemaNode) -> Alternatives:
    yield Made({"allOf": [source.opposite(part) for part in parts]})
    for i, part in enumerate(parts):
        for other in parts[:i]:
            yield Made({"allOf": [other, part]})


def _not(part: Any, *_: Any) -> Alternatives:
    yield part


def _if(part: Any, keywords: Schema, source: SchemaSource, _: SchemaNode) -> Alternatives:
    yield Made({"allOf": [part, source.opposite(keywords.get("then", True))]})
    yield Made({"allOf": [source.opposite(part), source.opposite(keywords.get("else", True))]})


def _reference(keyword: str) -> Negated:
    def negated(value: Any, keywords: Schema, source: SchemaSource, node: SchemaNode) -> Alternatives:
        yield source.opposite(source.target(keyword, value, node).schema)

    return negated


# In this order: the keywords that separate two schemas most plainly come first.
_NEGATED: dict[str, Negated] = {
    "type": _type,
    "const": _const,
    "enum": _ours(None, NOT_ENUM),
    "required": _required,
    "$ref": _reference("$ref"),
    "$dynamicRef": _reference("$dynamicRef"),
    "$recursiveRef": _reference("$recursiveRef"),
    "minimum": _bound("number", "exclusiveMaximum"),
    "maximum": _bound("number", "exclusiveMinimum"),
    "exclusiveMinimum": _bound("number", "maximum"),
    "exclusiveMaximum": _bound("number", "minimum"),
    "multipleOf": _ours("number", NOT_MULTIPLE),
    "minLength": _bound("string", "maxLength", -1),
    "maxLength": _bound("string", "minLength", 1),
    "pattern": _ours("string", NOT_PATTERN),
    "minItems": _bound("array", "maxItems", -1),
    "maxItems": _bound("array", "minItems", 1),
    "items": _items,
    "prefixItems": _prefix_items,
    "contains": _contains,
    "minProperties": _bound("object", "maxProperties", -1),
    "maxProperties": _bound("object", "minProperties", 1),
    "properties": _properties,
    "propertyNames": _property_names,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "dependentRequired": _dependent_required,
    "dependentSchemas": _dependent_schemas,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
}
