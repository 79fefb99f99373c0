"""A JSON Schema as a regular expression: for backends that know regular languages only.

It reads what `json_schema.enforceable` returns. As there, objects and lists hold what the schema lists and nothing else,
properties come in its order, and what is not written here is refused, never left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar.json_schema import FIELD, types_of
from workbench.grammar.regex import IN_JSON_STRINGS, literal, plain_regex

MAX_CHARS = 1 << 20
"""References are written out where they stand, which can double at each."""
# A surrogate, half a character, is not one of the escapes.
CHAR = (
    "(?:" + plain_regex(".", allowed=IN_JSON_STRINGS)
    + r"|\u005c(?:[\u0022\u005c\u002fbfnrt]|u(?:[0-9a-ce-fA-CE-F][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2})))"
)  # fmt: skip
DATE = (
    "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
FORMATS = {
    "date": DATE, "time": TIME, "date-time": f"{DATE}T{TIME}", "ipv4": rf"(?:{BYTE}\.){{3}}{BYTE}",
    "uuid": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
}  # fmt: skip
NATURAL = "(?:0|[1-9][0-9]*)"
REFUSED = {
    *("exclusiveMinimum", "exclusiveMaximum", "minimum", "maximum", "multipleOf", "patternProperties", "propertyNames"),
    *("minProperties", "maxProperties"),
}


def schema_regex(schema: str, max_whitespace: int = 0, whitespace_pattern: str | None = None) -> str:
    """In the constructs of `plain_regex`. Between two parts stands up to `max_whitespace` white space, or what the pattern
    matches; with neither, separators are ", " and ": ".

    Raises NotSupported for what is not regular, or not written here.
    """
    space = None
    if whitespace_pattern is not None:
        space = f"(?:{plain_regex(whitespace_pattern, field='constrained_json_whitespace_pattern')})"
    elif max_whitespace:
        space = rf"[\u0020\u000a\u0009]{{0,{max_whitespace}}}"
    read = json.loads(schema)
    return _Writer(read, space).value(read, "", ())


class _Writer:
    def __init__(self, root: Any, space: str | None) -> None:
        self.root = root
        self.comma = ", " if space is None else f"{space},{space}"
        self.colon = ": " if space is None else f"{space}:{space}"
        self.pad = space or ""
        self.num_chars = 0

    def refused(self, path: str, what: str) -> NotSupported:
        return NotSupported(
            f"{FIELD}{path}: {what} cannot be enforced by the grammar backend outlines",
            hint='load with grammar_backend="xgrammar"',
        )

    def value(self, schema: Any, path: str, inside: tuple[str, ...]) -> str:
        """`inside`: the references that are being written out."""
        text = f"(?:{self._value(schema, path, inside)})"
        self.num_chars += len(text)
        if self.num_chars > 16 * MAX_CHARS or len(text) > MAX_CHARS:
            raise InvalidRequest(FIELD, f"a schema of more than {MAX_CHARS:,} characters written out", "smaller")
        return text

    def _value(self, schema: Any, path: str, inside: tuple[str, ...]) -> str:
        if schema is True or not isinstance(schema, dict):
            raise self.refused(path, "any JSON value")
        if "$ref" in schema:
            pointer = schema["$ref"]
            if pointer in inside:
                raise self.refused(path, f"the recursive reference {pointer!r}")
            return self.value(_target(self.root, pointer), path, (*inside, pointer))
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            return "|".join(map(self.fixed, values))
        for keyword in ("anyOf", "oneOf", "allOf"):
            if keyword in schema:
                return "|".join(self.value(branch, f"{path}.{keyword}[{i}]", inside) for i, branch in enumerate(schema[keyword]))
        if refused := REFUSED & schema.keys():
            raise self.refused(path, f"{min(refused)!r}")
        if "type" not in schema:
            raise self.refused(path, "any JSON value")
        writers: dict[str, Callable[..., str]] = {
            "string": self.string, "array": self.array, "object": self.object, "integer": lambda *_: "0|-?[1-9][0-9]*",
            "number": lambda *_: rf"-?{NATURAL}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{{1,3}})?",
            "boolean": lambda *_: "true|false", "null": lambda *_: "null",
        }  # fmt: skip
        types = types_of(schema)
        names = [name for name in writers if name in types and not (name == "integer" and "number" in types)]
        return "|".join(f"(?:{writers[name](schema, path, inside)})" for name in names)

    def fixed(self, value: Any) -> str:
        """One value as JSON, with this writer's separators."""
        if isinstance(value, list):
            return rf"\[{self.pad}" + self.comma.join(map(self.fixed, value)) + rf"{self.pad}\]"
        if isinstance(value, dict):
            pairs = (f"{self.fixed(name)}{self.colon}{self.fixed(item)}" for name, item in value.items())
            return rf"\{{{self.pad}{self.comma.join(pairs)}{self.pad}\}}"
        return literal(json.dumps(value, ensure_ascii=False))

    def string(self, schema: dict[str, Any], path: str, inside: tuple[str, ...]) -> str:
        if "pattern" in schema:
            return f'"(?:{schema["pattern"]})"'
        if "format" in schema:
            if schema["format"] not in FORMATS:
                raise self.refused(path, f"format {schema['format']!r}")
            return f'"{FORMATS[schema["format"]]}"'
        return f'"{_repeated(CHAR, schema.get("minLength", 0), schema.get("maxLength"))}"'

    def array(self, schema: dict[str, Any], path: str, inside: tuple[str, ...]) -> str:
        low, high, first = schema.get("minItems", 0), schema.get("maxItems"), schema.get("prefixItems", [])
        if "items" not in schema and not first and high != 0:
            raise self.refused(path, "a list of any JSON values")
        rest = None if schema.get("items", False) is False or high == 0 else self.value(schema["items"], f"{path}.items", inside)
        parts = [self.value(item, f"{path}.prefixItems[{i}]", inside) for i, item in enumerate(first[:high])]
        low, high = max(low - len(parts), 0), None if high is None else high - len(parts)
        if rest is None and low:
            raise InvalidRequest(
                f"{FIELD}{path}.minItems", schema["minItems"], f"at most {len(parts)}: there are no further items"
            )
        if rest is not None and high != 0:
            if parts:
                parts.append(_repeated(f"(?:{self.comma}{rest})", low, high))
                inner = self.comma.join(parts[:-1]) + parts[-1]
            else:
                some = rest + _repeated(f"(?:{self.comma}{rest})", max(low - 1, 0), None if high is None else high - 1)
                inner = some if low else f"(?:{some})?"
        else:
            inner = self.comma.join(parts)
        return rf"\[{self.pad}{inner}{self.pad}\]"

    def object(self, schema: dict[str, Any], path: str, inside: tuple[str, ...]) -> str:
        properties, required = schema.get("properties", {}), set(schema.get("required", ()))
        if schema.get("additionalProperties", False) is not False or not (properties or "additionalProperties" in schema):
            raise self.refused(path, "an object with any names")
        pairs = [
            (f"{self.fixed(name)}{self.colon}{self.value(value, f'{path}.{name}', inside)}", name in required)
            for name, value in properties.items()
            if value is not False
        ]
        begun = ""  # what may follow once a property was written, from the last backwards
        whole = ""
        for pair, is_required in reversed(pairs):
            if is_required:
                whole = pair + begun
                begun = f"{self.comma}{pair}{begun}"
            else:
                whole = f"(?:{pair}{begun}|{whole})" if whole else f"(?:{pair}{begun})?"
                begun = f"(?:{self.comma}{pair})?{begun}"
        return rf"\{{{self.pad}{whole}{self.pad}\}}"


def _target(root: Any, pointer: str) -> Any:
    """`enforceable` has seen that it is there."""
    for name in pointer.split("/")[1:]:
        root = root[int(name)] if isinstance(root, list) else root[name]
    return root


def _repeated(part: str, low: int, high: int | None) -> str:
    return f"{part}{{{low},{'' if high is None else high}}}"
