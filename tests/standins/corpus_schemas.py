"""JSON Schemas for the corpus test: written by hand over the enforceable keywords, and drawn by a seeded generator."""

# ruff: noqa: E501, E741  (a table of data)
from __future__ import annotations

import random
from typing import Any

Schema = Any
S, I, N, B, NULL = ({"type": kind} for kind in ("string", "integer", "number", "boolean", "null"))
SHORT = {"type": "string", "maxLength": 6}


def obj(properties: dict[str, Schema], required: list[str] | None = None, **more: Any) -> Schema:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, **more}


def arr(items: Schema, low: int = 0, high: int | None = 3, **more: Any) -> Schema:
    return {"type": "array", "items": items, "minItems": low, **({} if high is None else {"maxItems": high}), **more}


PATTERNS = [
    "^[a-z]+$", "^[\\w]+$", r"^\w+$", "^[^@]+@[^@]+$", r"^\d{3}-\d{4}$", "[ab]", "^a|b$", "^(foo|bar)+$", "^.{2,5}$", r"^\S+$",
    "^[A-Z][a-z]{1,8}$", r"^-?[0-9]+(\.[0-9]{1,2})?$", "^[^aeiou]{3}$", r"^(\+1)?[0-9]{3}$", "^$", "^a?b?c?$", r"^[\w.]+\.com$",
    "^(0|[1-9][0-9]*)$", r"^#[0-9a-f]{6}$", "^[é-ü]{1,3}$",
]  # fmt: skip
FORMATS = [
    "date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uri-reference", "uri-template", "uuid",
    "json-pointer", "relative-json-pointer",
]  # fmt: skip
INTEGER_RANGES = [
    (0, 0), (0, 9), (5, 5), (-5, 5), (1, 12), (10, 99), (3, 107), (-100, -1), (0, 65535), (999, 1001), (-1, None), (None, -1),
    (None, 0), (0, None), (100, None), (None, 1000),
]  # fmt: skip
NUMBER_RANGES = [(0, 1), (0.5, 3), (-1.5, 1.5), (0, None), (None, 0), (10, 20), (0.01, 0.02), (-273.15, None), (99.5, 100)]
TREE = {"$defs": {"t": obj({"v": I, "kids": arr({"$ref": "#/$defs/t"}, 0, 2)})}, "$ref": "#/$defs/t"}
LIST = {"$defs": {"n": obj({"v": SHORT, "next": {"anyOf": [{"$ref": "#/$defs/n"}, NULL]}})}, "$ref": "#/$defs/n"}
SHAPES = [
    obj({"kind": {"const": "circle"}, "r": {**N, "minimum": 0}}),
    obj({"kind": {"const": "square"}, "side": {**I, "minimum": 1, "maximum": 9}}),
]
CHARACTER = obj(
    {
        "name": {"type": "string", "maxLength": 16}, "house": {"enum": ["Gryffindor", "Slytherin", "Ravenclaw", "Hufflepuff"]},
        "blood status": {"enum": ["Pure-blood", "Half-blood", "Muggle-born"]}, "occupation": {"enum": ["student", "teacher"]},
        "wand": obj({"wood": SHORT, "core": SHORT, "length": {**N, "minimum": 0, "maximum": 40}}),
        "alive": {"enum": ["Alive", "Deceased"]}, "patronus": SHORT,
    }
)  # fmt: skip


def bounds(low: float | None, high: float | None, is_open: bool = False) -> dict[str, float]:
    names = ("exclusiveMinimum", "exclusiveMaximum") if is_open else ("minimum", "maximum")
    return {name: value for name, value in zip(names, (low, high), strict=True) if value is not None}


def by_hand() -> list[Schema]:
    """Returns schemas with every enforceable keyword, alone and in company."""
    strings = [{**S, **bounds_of} for bounds_of in (
        {}, {"minLength": 1}, {"maxLength": 0}, {"maxLength": 1}, {"minLength": 3, "maxLength": 3}, {"minLength": 2, "maxLength": 9},
        {"maxLength": 40}, {"title": "t", "description": "d", "default": "x", "examples": ["y"]}, {"format": "password"},
    )]  # fmt: skip
    strings += [{**S, "pattern": pattern} for pattern in PATTERNS] + [{"pattern": "^[xy]{2}$"}, {"maxLength": 3}]
    strings += [{**S, "format": name} for name in FORMATS]
    numbers = [I, N, B, NULL, {}, True, *({**I, **bounds(*pair)} for pair in INTEGER_RANGES)]
    numbers += [{**I, **bounds(low, high, True)} for low, high in ((0, 10), (-3, 3), (98, 101), (None, 5), (7, None))]
    numbers += [{**N, **bounds(*pair)} for pair in NUMBER_RANGES]
    numbers += [{**N, **bounds(low, high, True)} for low, high in ((0, 1), (-1, 1), (1.5, 2.5), (None, 10), (0, None))]
    numbers += [{**I, "multipleOf": n, "minimum": 0, "maximum": 60} for n in (2, 3, 7, 10)]
    fixed = [
        {"enum": ["a", "b", "c"]}, {"enum": [1, 2.5, -3, True, None]}, {"enum": ["", " ", "é", '"', "\\", "\n", "漢字"]},
        {"const": "x"}, {"const": 12}, {"const": None}, {"const": [1, {"a": "b"}]}, {"const": {"a": 1, "b": [True]}},
        {**S, "enum": ["yes", "no"]}, {**I, "enum": [1, 10, 100]}, {"enum": [[], {}, [[]], {"a": {}}]},
    ]  # fmt: skip
    arrays = [
        {"type": "array"}, arr(I), arr(I, 2, 2), arr(SHORT, 1), arr(I, 0, None), arr(arr(B, 1, 2), 1, 2), arr({"enum": [0, 1]}, 4, 8),
        {"type": "array", "prefixItems": [I, SHORT], "items": False, "minItems": 2},
        {"type": "array", "prefixItems": [B, NULL], "items": I, "minItems": 2, "maxItems": 4},
        {"type": "array", "prefixItems": [I], "unevaluatedItems": False}, {"items": B, "maxItems": 2}, {"minItems": 1, "maxItems": 1},
        arr(obj({"a": I}), 1, 2), arr({"anyOf": [I, SHORT]}, 1), arr({"type": ["integer", "null"]}, 2),
        {"type": "array", "items": I, "uniqueItems": False, "maxItems": 2},
    ]  # fmt: skip
    objects = [
        {"type": "object"}, obj({}), obj({"a": I}), obj({"a": I, "b": SHORT}), obj({"a": I, "b": SHORT}, ["b"]), obj({"a": I}, []),
        obj({"a": I, "b": I, "c": I}, ["a", "c"]), obj({"a": obj({"b": obj({"c": B})})}), obj({"a": I}, additionalProperties=False),
        obj({"a": I}, additionalProperties=I), obj({"a": B}, ["a", "z"]), {"required": ["q"]}, {"properties": {"a": I}},
        {"type": "object", "additionalProperties": SHORT}, {"type": "object", "additionalProperties": I, "maxProperties": 2},
        {"type": "object", "patternProperties": {"^x_": I}, "additionalProperties": False},
        {"type": "object", "propertyNames": {"pattern": "^[a-c]{1,2}$"}}, obj({"a": I, "b": I, "c": I}, [], minProperties=1),
        obj({"a": I, "b": I, "c": I}, [], minProperties=2, maxProperties=3), obj({"a": SHORT}, unevaluatedProperties=False),
        obj({'q"uote': I, "new\nline": I, "back\\slash": I, "é漢": I, " ": I, "$ref": I}), obj({"a": {}}), obj({"a": True}), CHARACTER,
        obj({f"k{i}": B for i in range(12)}), obj({f"k{i}": B for i in range(6)}, []), obj({"a": I}, [], title="T", description="d"),
    ]  # fmt: skip
    branches = [
        {"anyOf": [I, SHORT]}, {"anyOf": [obj({"a": I}), obj({"b": I}), NULL]}, {"oneOf": [I, SHORT, NULL]}, {"oneOf": SHAPES},
        {"oneOf": [{"enum": [1, 2]}, {"const": 3}]}, {"allOf": [obj({"a": I})]}, {"type": ["integer", "string", "null"], "maxLength": 4},
        {"type": ["boolean", "array"], "items": I, "maxItems": 2}, TREE, LIST, {"$defs": {"x": SHORT}, "$ref": "#/$defs/x"},
        {"definitions": {"x": {**I, "maximum": 3}}, "$ref": "#/definitions/x"}, arr({"oneOf": SHAPES}, 1, 2),
        {"$defs": {"a": arr({"$ref": "#/$defs/b"}, 1, 1), "b": {"anyOf": [{"$ref": "#/$defs/a"}, I]}}, "$ref": "#/$defs/a"},
        obj({"x": {"$ref": "#/properties/y"}, "y": {"type": "integer", "minimum": 7, "maximum": 8}}),
        obj({"a": {"anyOf": [NULL, obj({"b": {"anyOf": [I, NULL]}})]}}),
    ]  # fmt: skip
    return [*strings, *numbers, *fixed, *arrays, *objects, *branches]


def drawn(count: int, seed: int = 0) -> list[Schema]:
    """Yields nested schemas from one seed; the first of a longer list are those of a shorter one."""
    draw = random.Random(seed)
    return [_schema(draw, 3) for _ in range(count)]


def _schema(draw: random.Random, depth: int) -> Schema:
    leaf = [_string, _integer, _number, _enum, lambda draw: draw.choice([B, NULL])]
    if depth == 0 or draw.random() < 0.25:
        return draw.choice(leaf)(draw)
    return draw.choice([_object, _object, _array, _union])(draw, depth - 1)


def _string(draw: random.Random) -> Schema:
    kind = draw.random()
    if kind < 0.25:
        return {**S, "pattern": draw.choice(PATTERNS)}
    if kind < 0.4:
        return {**S, "format": draw.choice(FORMATS)}
    low = draw.randrange(4)
    return {**S, "minLength": low, "maxLength": low + draw.randrange(6)}


def _integer(draw: random.Random) -> Schema:
    low = draw.randrange(-200, 200)
    return {**I, **bounds(low, low + draw.randrange(2, 300), draw.random() < 0.3)} if draw.random() < 0.7 else I


def _number(draw: random.Random) -> Schema:
    low = round(draw.uniform(-50, 50), draw.randrange(4))
    return {**N, **bounds(low, low + round(draw.uniform(1, 9), 2), draw.random() < 0.3)} if draw.random() < 0.7 else N


def _enum(draw: random.Random) -> Schema:
    return {"enum": draw.sample(["red", "green", 1, 2.5, None, True, "two words", [1], {"k": 0}, "é"], draw.randrange(1, 5))}


def _object(draw: random.Random, depth: int) -> Schema:
    names = draw.sample(["id", "name", "a b", "size", "é", "x-y", "list", "n1"], draw.randrange(1, 5))
    properties = {name: _schema(draw, depth) for name in names}
    closed = {"additionalProperties": False} if draw.random() < 0.5 else {}
    return obj(properties, [name for name in names if draw.random() < 0.6], **closed)


def _array(draw: random.Random, depth: int) -> Schema:
    low = draw.randrange(3)
    if draw.random() < 0.2:
        first = [_schema(draw, depth) for _ in range(draw.randrange(1, 3))]
        return {"type": "array", "prefixItems": first, "items": False, "minItems": len(first)}
    return arr(_schema(draw, depth), low, low + draw.randrange(3))


def _union(draw: random.Random, depth: int) -> Schema:
    return {"anyOf": [_schema(draw, depth) for _ in range(draw.randrange(1, 4))]}
