"""Numbers within bounds, or that are multiples, as languages of their spellings without an exponent."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from math import lcm

from workbench.grammar.effort import TooLarge, spend
from workbench.grammar.language import Language, minimal, nothing, prefixed
from workbench.grammar.minimal import DEAD
from workbench.grammar.pattern import pattern_language

MAX_MULTIPLE, MAX_DIGITS = 4000, 400
DIGITS_OF_STRICT = 12
"""Largest number of digits of a fraction beside an exclusive bound: with more, a reader's rounding could reach the bound."""


def _matching(pattern: str) -> Language:
    return pattern_language(pattern, search=False)


def decimals(is_integer: bool, most_digits: int | None = None) -> Language:
    """Returns every number of either sign, without an exponent."""
    return _matching(f"-?{_unsigned(is_integer, most_digits)}") - _matching(r"-0(\.0*)?")


def _unsigned(is_integer: bool, most_digits: int | None = None) -> str:
    return "(0|[1-9][0-9]*)" if is_integer else rf"(0|[1-9][0-9]*)(\.[0-9]{{1,{most_digits or ''}}})?"


@lru_cache(256)
def between(low: Decimal | None, high: Decimal | None, low_open: bool, high_open: bool, is_integer: bool) -> Language:
    """Returns the numbers from `low` to `high`, without the bounds themselves where they are open. Raises TooLarge."""
    every = _matching(_unsigned(is_integer, DIGITS_OF_STRICT if low_open or high_open else None))
    positive, negative = every, every - _matching(r"0(\.0*)?")
    if high is not None:
        if high < 0:
            positive, negative = nothing(), negative - _below(-high, equal=high_open)
        else:
            positive = positive & _below(high, equal=not high_open)
    if low is not None:
        if low >= 0:
            positive, negative = positive - _below(low, equal=low_open), nothing()
        else:
            negative = negative & _below(-low, equal=not low_open)
    return positive if negative.is_empty else positive | prefixed("-", negative)


def _below(limit: Decimal, *, equal: bool) -> Language:
    """Returns the unsigned numbers less than `limit`, or equal to it."""
    whole, fraction = _digits(limit)
    parts = [rf"({smaller})(\.[0-9]+)?" for smaller in [_smaller_whole(whole)] if smaller]
    if fraction:
        parts.append(rf"{whole}(\.({_smaller_fraction(fraction)}))?")
    if equal:
        parts.append(rf"{whole}\.{fraction}0*" if fraction else rf"{whole}(\.0+)?")
    return _matching("|".join(parts)) if parts else nothing()


def _digits(value: Decimal) -> tuple[str, str]:
    if abs(value.adjusted()) > MAX_DIGITS:
        raise TooLarge(f"a bound of more than {MAX_DIGITS} digits")
    whole, _, fraction = f"{abs(value):f}".partition(".")
    return whole, fraction.rstrip("0")


def _smaller_whole(whole: str) -> str:
    """Returns an expression for the whole numbers below one; empty for 0."""
    num = len(whole)
    parts = [f"0|[1-9][0-9]{{0,{num - 2}}}"] if num > 1 else []
    for i, digit in enumerate(whole):
        least = 1 if i == 0 and num > 1 else 0
        if int(digit) > least:
            parts.append(f"{whole[:i]}[{least}-{int(digit) - 1}][0-9]{{{num - i - 1}}}")
    return "|".join(parts)


def _smaller_fraction(fraction: str) -> str:
    parts = [fraction[:i] for i in range(1, len(fraction))]
    parts += [f"{fraction[:i]}[0-{int(digit) - 1}][0-9]*" for i, digit in enumerate(fraction) if digit != "0"]
    return "|".join(parts)


@lru_cache(256)
def multiples(of: Decimal, is_integer: bool) -> Language:
    """Returns the multiples of a positive number. Raises TooLarge."""
    places = max(0, -int(of.normalize().as_tuple().exponent))
    if of.adjusted() > 12 or places > 12:
        raise TooLarge(f"multiples of {of}")
    step = int(of.scaleb(places))
    if is_integer:  # the digits behind the point are zeros
        step, places = lcm(step, 10**places) // 10**places, 0
    if step * (places + 1) > MAX_MULTIPLE:
        raise TooLarge(f"multiples of {of}")
    width, minus, point = 12, 10, 11
    state = {(0, -1): 0}
    rows: list[list[int]] = []
    final = []
    for rest, place in (todo := [(0, -1)]):  # place -1: before the point
        spend(width)
        final.append(rest * 10 ** (places - max(place, 0)) % step == 0)
        row = [DEAD] * width
        for digit in range(10):
            if place < places:
                after = ((rest * 10 + digit) % step, place + 1 if place >= 0 else -1)
            elif digit == 0:
                after = (rest, place)
            else:
                continue
            row[digit] = state.setdefault(after, len(state))
            todo += [after] if row[digit] == len(todo) else []
        if place < 0 and not is_integer:
            after = (rest, 0)
            row[point] = state.setdefault(after, len(state))
            todo += [after] if row[point] == len(todo) else []
        if not rows:
            row[minus] = 0
        rows.append(row)
    bounds = [0, *map(ord, "-./0123456789:")]
    kinds = [width, minus, point, width, *range(10), width]
    return minimal(bounds, kinds, [[*row, DEAD] for row in rows], final) & decimals(is_integer)


def equal_to(values: Iterable[Decimal]) -> Language:
    """Returns every spelling of these values without an exponent."""
    parts = []
    for value in values:
        whole, fraction = _digits(abs(value))
        sign = "-" if value < 0 else ""
        parts.append(rf"{sign}{whole}\.{fraction}0*" if fraction else rf"{sign}{whole}(\.0+)?")
    return _matching("|".join(parts)) if parts else nothing()
