"""Checks if a value has a form, to choose among the values that a schema lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from workbench.grammar.language import Language
from workbench.grammar.schema.clause import spelled, type_of
from workbench.grammar.schema.forms import Array, Chosen, Draft, Number, Object, String, Values


class Acceptor:
    """A check of values against forms. The order and spelling of properties are ignored; optional properties of objects may be
    missing."""

    def __init__(self, rules: Sequence[tuple[Draft, ...]]) -> None:
        self.rules = rules

    def rule(self, number: int, value: Any) -> bool:
        return any(self.form(form, value) for form in self.rules[number])

    def form(self, form: Draft, value: Any) -> bool:
        if isinstance(form, Values):
            return spelled(value) in map(spelled, form.values)
        if isinstance(form, Chosen):
            return spelled(value) in map(spelled, form.values) and any(self.form(part, value) for part in form.forms)
        type_ = type_of(value)
        if isinstance(form, String):
            fits = type_ == "string" and (form.language is None or form.language.accepts(value))
            return fits and len(value) <= _or_more(form.limit)
        if isinstance(form, Number):
            return type_ in ("integer", "fraction") and self.number(form, value)
        if isinstance(form, Array):
            return type_ == "array" and self.array(form, value)
        return type_ == "object" and self.object(form, value)

    def number(self, form: Number, value: Any) -> bool:
        if form.is_integer and type_of(value) != "integer":
            return False
        text = str(int(value)) if type_of(value) == "integer" else f"{Decimal(repr(value)):f}"
        return form.language is None or form.language.accepts(text)

    def array(self, form: Array, values: list[Any]) -> bool:
        if form.distinct:
            fits = [[rule for rule in form.distinct if self.rule(rule, value)] for value in values]
            return form.low <= len(values) <= _or_more(form.high) and all(fits) and len(set(map(tuple, fits))) == len(values)
        counted = 0
        for i, value in enumerate(values):
            item = form.first[i] if i < len(form.first) else form.rest
            if item is None or not self.rule(item.rule, value):
                return False
            counted += item.counted is not None and self.rule(item.counted, value)
        return form.low <= len(values) <= _or_more(form.high) and form.need <= counted <= _or_more(form.most)

    def object(self, form: Object, values: dict[str, Any]) -> bool:
        listed = {part.name: part for part in form.properties}
        for name, value in values.items():
            if name in listed:
                fits = self.rule(listed[name].rule, value)
            else:
                fits = form.is_closed or self.is_among(form.others + form.last, name, value)
            if not fits:
                return False
        required = all(name in values for name, part in listed.items() if part.is_required)
        unlisted = ((name, value) for name, value in values.items() if name not in listed)
        required = required and (not form.last or any(self.is_among(form.last, name, value) for name, value in unlisted))
        return required and form.low <= len(values) <= _or_more(form.high)

    def is_among(self, parts: Iterable[tuple[Language | None, int]], name: str, value: Any) -> bool:
        """Returns whether a property has one of these names, with a value of its rule."""
        return any(self.rule(rule, value) for names, rule in parts if names is None or names.accepts(name))


def _or_more(limit: int | None) -> float:
    return float("inf") if limit is None else limit
