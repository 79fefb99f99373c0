"""Judges texts by their schema, with `jsonschema` and its format checker, and excuses errors that are listed as unenforced."""

from __future__ import annotations

import decimal
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import regex
from jsonschema import Draft3Validator, Draft4Validator, Draft7Validator, Draft202012Validator, ValidationError, validators
from jsonschema.protocols import Validator
from jsonschema_specifications import REGISTRY

Verdict = Literal["valid", "invalid", "excused", "unjudged"]
EXACT = decimal.Context(prec=5000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
DRAFTS = (Draft4Validator, Draft7Validator, Draft202012Validator)
SPACE = r"\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": SPACE}
PART = re.compile(r"\\.|\[\^?|\]|\$|\(\?<(?=[A-Za-z])", re.DOTALL)


@dataclass(frozen=True)
class Judged:
    verdict: Verdict
    why: str = ""


class Judge:
    """Judges texts by one schema, in the draft that it names, else in that of its keywords.

    Numbers are decimal: 0.3 is a multiple of 0.1.
    """

    def __init__(self, schema: Any, unenforced: Iterable[str] = ()) -> None:
        self._unenforced = [_about(entry) for entry in unenforced]
        exact = exact_value(json.dumps(schema))
        base = validators.validator_for(exact, default=_guessed(exact))
        checker = base.TYPE_CHECKER
        if base not in (Draft3Validator, Draft4Validator):  # there 1.0 is no integer
            checker = checker.redefine("integer", _is_integer)
        made = validators.extend(base, {"pattern": _pattern, "patternProperties": _pattern_properties}, type_checker=checker)
        self._validator: Validator = made(exact, registry=REGISTRY, format_checker=base.FORMAT_CHECKER)

    def text(self, data: bytes) -> Judged:
        try:
            value = exact_value(data.decode())
        except decimal.DecimalException:
            return Judged("unjudged", "a number with an exponent beyond any computer")
        except (ValueError, RecursionError) as error:
            return Judged("invalid", f"no JSON: {error}")
        return self.value(value)

    def value(self, value: Any) -> Judged:
        """Judges a value that `exact_value` read."""
        try:
            with decimal.localcontext(EXACT):
                errors = list(self._validator.iter_errors(value))
        except Exception as error:  # references to elsewhere, expressions that Python cannot read, schemas that are none
            return Judged("unjudged", f"{type(error).__name__}: {error}"[:200])
        if not errors:
            return Judged("valid")
        serious = [error for error in errors if not self._is_excused(error)]
        if not serious:
            return Judged("excused", _words(errors[0]))
        return Judged("invalid", _words(serious[0]))

    def _is_excused(self, error: ValidationError) -> bool:
        """Returns whether all errors are among the keywords that the constraint lists as unenforced."""
        is_none_of = error.validator == "oneOf" and error.context  # only that no two hold may be left unenforced
        if not is_none_of and any(_is_about(entry, error) for entry in self._unenforced):
            return True
        if not error.context:
            return False
        branches: dict[Any, list[ValidationError]] = {}
        for inner in error.context:
            branches.setdefault(inner.schema_path[0] if inner.schema_path else None, []).append(inner)
        return any(all(map(self._is_excused, inner)) for inner in branches.values())


def _guessed(schema: Any) -> Any:
    """Returns the draft of a schema that names none: the latest that has its keywords."""
    if isinstance(schema, list):
        return min(map(_guessed, schema), key=DRAFTS.index, default=DRAFTS[-1])
    if not isinstance(schema, dict):
        return DRAFTS[-1]
    if isinstance(schema.get("exclusiveMinimum"), bool) or isinstance(schema.get("exclusiveMaximum"), bool):
        return Draft4Validator
    inner = _guessed(list(schema.values()))
    is_older = isinstance(schema.get("items"), list) or isinstance(schema.get("dependencies"), dict)
    return min(inner, Draft7Validator if is_older else DRAFTS[-1], key=DRAFTS.index)


def exact_value(text: str) -> Any:
    return json.loads(text, parse_float=EXACT.create_decimal, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _is_about(entry: str, error: ValidationError) -> bool:
    has_keyword = re.search(rf"(?<![\w$]){re.escape(str(error.validator))}(?!\w)", entry) is not None
    return has_keyword and (error.validator != "format" or str(error.validator_value) in entry)


def _about(entry: str) -> str:
    """Returns the part behind the place: of `json_schema.a.oneOf[1]: that it must not hold` the last keyword and its words."""
    path, _, what = entry.partition(": ")
    return f"{path.rpartition('.')[2]}: {what}" if what.startswith("that") else what


def _words(error: ValidationError) -> str:
    return f"{error.json_path}: {error.validator}: {error.message}"[:300]


def _is_integer(checker: Any, instance: Any) -> bool:
    if isinstance(instance, bool):
        return False
    return isinstance(instance, int) or (isinstance(instance, Decimal) and instance == instance.to_integral_value())


def ecma(pattern: str) -> Any:
    """Returns the expression in the standard's meaning: ASCII digits and letters, `$` only at the very end."""
    in_class = False

    def part(found: re.Match[str]) -> str:
        nonlocal in_class
        text = found[0]
        if text.startswith("[") and not in_class:
            in_class = True
        elif text == "]":
            in_class = False
        elif text == "$" and not in_class:
            return r"\Z"
        elif text == "(?<" and not in_class:
            return "(?P<"
        elif text[0] == "\\" and text[1] in CLASSES:
            return CLASSES[text[1]] if in_class else f"[{CLASSES[text[1]]}]"
        elif text[0] == "\\" and text[1].lower() in CLASSES and not in_class:
            return f"[^{CLASSES[text[1].lower()]}]"
        return text

    return regex.compile(PART.sub(part, pattern))


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not ecma(pattern).search(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: dict[str, Any], instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, inner in patterns.items():
        expression = ecma(pattern)
        for name, value in instance.items():
            if expression.search(name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)
