"""Strings and numbers of a clause: all that is said of them as one language."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any

from workbench.errors import InvalidRequest
from workbench.grammar.counted import is_complete_at, without_count
from workbench.grammar.ecma import NotRegular
from workbench.grammar.effort import TooLarge
from workbench.grammar.formats import FORMATS
from workbench.grammar.language import Language, all_but, everything, lengths
from workbench.grammar.pattern import BadPattern, pattern_language
from workbench.grammar.schema.clause import Clause
from workbench.grammar.schema.forms import Number, String
from workbench.grammar.schema.negate import NOT_ENUM, NOT_MULTIPLE, NOT_PATTERN
from workbench.grammar.schema.numbers import between, decimals, equal_to, multiples
from workbench.grammar.schema.source import FIELD, SchemaNode, SchemaSource

NO_LIMIT = 1 << 20
"""A length above this is none: no output has as many characters."""
LONG = 16
"""Characters up to which a limit is part of the automaton: each number of characters is a state there, with a mask of its own."""
_NOWHERE = SchemaNode(True, "")
Part = tuple[SchemaNode, str, Callable[[], Language]]
"""The node of a keyword, the keyword in words, and a function that makes its language."""


def string_form(source: SchemaSource, clause: Clause) -> String | None:
    """Returns the strings of a clause; None if there is none."""
    language, limit, node = _all_of_string(source, clause), NO_LIMIT, clause.entries[0].node if clause.entries else _NOWHERE
    if language is not None and language.is_empty:
        return None
    for entry, value in clause.each("maxLength"):
        if count(value, entry.node, "maxLength") < limit:
            limit, node = int(value), entry.node
    if limit == NO_LIMIT and (language is None or len(language.rows) <= LONG):
        return String(language)
    form = _counted(language, limit)
    if form.limit is not None and form.limit > LONG and (form.language is None or is_complete_at(form.language, form.limit)):
        source.limited[form] = node
        return form
    language = exact(source, String(language, limit if limit < NO_LIMIT else None), node).language
    return None if language is not None and language.is_empty else String(language)


def _counted(language: Language | None, limit: int) -> String:
    """Returns the strings of a language and a limit with as much as possible left to the limit."""
    without = without_count(language) if language is not None else None
    if without is not None:
        language, limit = without[0], min(limit, without[1])
    return String(None if language is not None and language.is_everything else language, limit if limit < NO_LIMIT else None)


def _all_of_string(source: SchemaSource, clause: Clause) -> Language | None:
    """Returns the language of all that is said of strings but their largest length; None for all strings."""
    language: Language | None = None
    for node, what, make in _of_string(clause):
        try:
            part = make()
            language = part if language is None else language & part
        except BadPattern as error:
            raise InvalidRequest(f"{FIELD}{node.path}.pattern", what, f"a regular expression ({error})") from None
        except (NotRegular, TooLarge) as error:
            source.drop(node, f"{what} ({error})")
    return None if language is not None and language.is_everything else language


def exact(source: SchemaSource, form: String, node: SchemaNode) -> String:
    """Returns the form without a limit that is still to be counted; `node` has the keyword."""
    try:
        return String(form.exact)
    except TooLarge as error:
        source.drop(node, f"maxLength {form.limit} ({error})")
        return String(form.language)


def _of_string(clause: Clause) -> Iterator[Part]:
    low = max((count(value, entry.node, "minLength") for entry, value in clause.each("minLength")), default=0)
    if low > 0:
        node = next(entry.node for entry, value in clause.each("minLength") if int(value) == low)
        yield node, f"minLength {low}", partial(lengths, low, None)
    for entry, pattern in clause.each("pattern"):
        if not isinstance(pattern, str):
            raise InvalidRequest(f"{FIELD}{entry.node.path}.pattern", pattern, "a string")
        yield entry.node, f"pattern {json.dumps(pattern)}", partial(pattern_language, pattern)
    for entry, patterns in clause.each(NOT_PATTERN):
        for pattern in patterns:
            yield entry.node, f"not pattern {json.dumps(pattern)}", partial(_without_pattern, pattern)
    for entry, name in clause.each("format"):
        if name in FORMATS:  # others are annotations, as the standard has it
            yield entry.node, f"format {json.dumps(name)}", partial(pattern_language, FORMATS[name], search=False)
    for entry, values in clause.each(NOT_ENUM):
        texts = [value for value in values if isinstance(value, str)]
        yield entry.node, "not enum", partial(all_but, texts)


def _without_pattern(pattern: str) -> Language:
    return everything() - pattern_language(pattern, generous=True)


def _no_multiples(of: Decimal, is_integer: bool) -> Language:
    return decimals(is_integer) - multiples(of, is_integer)


def _no_numbers(numbers: list[Decimal], is_integer: bool) -> Language:
    return decimals(is_integer) - equal_to(numbers)


def count(value: Any, node: SchemaNode, keyword: str) -> int:
    """Returns a length or a number of parts. Raises InvalidRequest if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1 or value < 0:
        raise InvalidRequest(f"{FIELD}{node.path}.{keyword}", value, "a length: an integer, at least 0")
    return int(value)


def number_form(source: SchemaSource, clause: Clause) -> Number | None:
    """Returns the numbers of a clause; None if there is none."""
    is_integer = "fraction" not in clause.types
    language: Language | None = None
    for node, what, make in _of_number(clause, is_integer):
        try:
            part = make()
            language = part if language is None else language & part
        except TooLarge as error:
            source.drop(node, f"{what} ({error})")
    if "integer" not in clause.types:
        broken = decimals(False) - pattern_language(r"-?[0-9]+(\.0+)?", search=False)
        language = broken if language is None else language & broken
    if language is not None and language.is_empty:
        return None
    return Number(is_integer, language)


def _of_number(clause: Clause, is_integer: bool) -> Iterator[Part]:
    low, high = _bound(clause, "minimum", max), _bound(clause, "maximum", min)
    if low is not None or high is not None:
        node = next(entry.node for entry in clause.entries if _BOUNDS & entry.keywords.keys())
        lowest, low_open = low or (None, False)
        highest, high_open = high or (None, False)
        yield node, "a bound", partial(between, lowest, highest, low_open, high_open, is_integer)
    for entry, value in clause.each("multipleOf"):
        of = number(value, entry.node, "multipleOf")
        if of <= 0:
            raise InvalidRequest(f"{FIELD}{entry.node.path}.multipleOf", value, "a number above 0")
        yield entry.node, f"multipleOf {value}", partial(multiples, of, is_integer)
    for entry, values in clause.each(NOT_MULTIPLE):
        for value in values:
            of = number(value, entry.node, "multipleOf")
            yield entry.node, f"not multipleOf {value}", partial(_no_multiples, of, is_integer)
    for entry, values in clause.each(NOT_ENUM):
        numbers = [number(value, entry.node, "enum") for value in values if _is_number(value)]
        if numbers:
            yield entry.node, "not enum", partial(_no_numbers, numbers, is_integer)


_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}


def _bound(clause: Clause, keyword: str, tightest: Callable[..., Any]) -> tuple[Decimal, bool] | None:
    """Returns the tightest of all bounds on one side, and whether it is exclusive."""
    exclusive = f"exclusive{keyword[0].upper()}{keyword[1:]}"
    found = [(number(value, entry.node, keyword), False) for entry, value in clause.each(keyword)]
    found += [(number(value, entry.node, exclusive), True) for entry, value in clause.each(exclusive)]
    if not found:
        return None
    limit = tightest(value for value, _ in found)
    return limit, any(is_open for value, is_open in found if value == limit)


def number(value: Any, node: SchemaNode, keyword: str) -> Decimal:
    """Returns the exact value of a number. Raises InvalidRequest for what is none."""
    if not _is_number(value) or not math.isfinite(value):
        raise InvalidRequest(f"{FIELD}{node.path}.{keyword}", value, "a number")
    return Decimal(repr(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
