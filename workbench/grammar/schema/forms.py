"""Forms of values: a schema is a few of them, with numbers of rules in the place of schemas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workbench.grammar.language import Language, lengths


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
    """A string whose content is of this language (None: any) and has at most `limit` characters (None: any number).

    With a limit every text of that length that the language has begun is complete, so that a matcher can count instead.
    """

    language: Language | None = None
    limit: int | None = None

    @cached_property
    def exact(self) -> Language | None:
        """The language and the limit as one automaton. Raises TooLarge."""
        if self.limit is None:
            return self.language
        most = lengths(0, self.limit)
        return most if self.language is None else self.language & most


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
    """True if further properties are left out although the schema would allow them."""
    last: tuple[tuple[Language | None, int], ...] = ()
    """Names and rules of one more property, which must come as the last; empty if none must."""


Form = Values | Number | String | Array | Object
Rules = list[tuple[Form, ...]]
"""For each number the forms of which a value has one; without any, there is no such value."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """One of these values that also has one of the forms: which ones, is settled when all rules are made."""

    values: tuple[Any, ...]
    forms: tuple[Form, ...]


Draft = Form | Chosen
