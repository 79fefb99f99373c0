"""Forms of values: a schema as one of a few forms, with numbers of rules in the place of schemas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workbench.grammar.language import Language, lengths


@dataclass(frozen=True, eq=False)
class Values:
    """One of a list of values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Number:
    """A number of this language, without an exponent; None for any."""

    is_integer: bool
    language: Language | None = None


@dataclass(frozen=True, eq=False)
class String:
    """A string whose content is of this language (None: any) and has at most `limit` characters (None: any number).

    With a limit, every text of that length that begins a text of the language is complete, so that a matcher can count instead.
    """

    language: Language | None = None
    limit: int | None = None

    @cached_property
    def exact(self) -> Language | None:
        """Returns the language and the limit as one automaton. Raises TooLarge."""
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
    """Rules of one value each, in place of `first` and `rest`; none of them comes twice."""


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
    """Names and rules of one more property, which must come last; empty if there is none."""


Form = Values | Number | String | Array | Object
Rules = list[tuple[Form, ...]]
"""Forms by rule number: a value has one of them. A rule without forms has no value."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """Those of a list of values that also have one of the forms. They are chosen when all rules are made."""

    values: tuple[Any, ...]
    forms: tuple[Form, ...]


Draft = Form | Chosen
