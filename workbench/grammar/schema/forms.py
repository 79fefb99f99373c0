"""What a value may look like: a schema as one of a few forms, with numbers of rules in the place of schemas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.grammar.language import Language


@dataclass(frozen=True, eq=False)
class Values:
    """One of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Number:
    """A number without an exponent of this language; None for any."""

    is_integer: bool
    language: Language | None = None


@dataclass(frozen=True, eq=False)
class String:
    """A string whose content is of this language; None for any."""

    language: Language | None = None


@dataclass(frozen=True, eq=False)
class Item:
    """The rules of one item of an array: for any value there, for one that `contains` counts, and for one that it does not."""

    rule: int
    counted: int | None = None
    other: int | None = None


@dataclass(frozen=True, eq=False)
class Array:
    """An array: `first` items, then `rest` (None: no more); `low` to `high` items in all, `need` to `most` of them counted."""

    first: tuple[Item, ...]
    rest: Item | None
    low: int = 0
    high: int | None = None
    need: int = 0
    most: int | None = None
    distinct: tuple[int, ...] = ()
    """In place of `first` and `rest`: rules of one value each, of which none comes twice."""


@dataclass(frozen=True, eq=False)
class Property:
    name: str
    rule: int
    is_required: bool


@dataclass(frozen=True, eq=False)
class Object:
    """An object: properties in this order, then others whose names are of a language (None: of any other name)."""

    properties: tuple[Property, ...]
    others: tuple[tuple[Language | None, int], ...]
    low: int = 0
    high: int | None = None
    is_closed: bool = False
    """Whether further properties are left out although the schema would allow them."""


Form = Values | Number | String | Array | Object
Rules = list[tuple[Form, ...]]
"""For each number the forms of which a value has one; without any, there is no such value."""
