"""Which JSON Schemas can be enforced while generating, and the form of them that the backend enforces fully.

The backend overlooks many keywords in silence. Here every keyword of JSON Schema is either known to be enforced, an
annotation, or refused with its place in the schema; nothing is dropped. Some schemas are narrowed (a pattern matches the
whole string, keywords of one type imply that type), which allows less than the schema and never more.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar.json_merge import CannotMerge, merged
from workbench.grammar.regex import IN_JSON_STRINGS, plain_regex

FIELD = "json_schema"
KEYWORDS_OF = {
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "array": {"items", "prefixItems", "minItems", "maxItems", "unevaluatedItems"},
    "object": {
        *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
        *("minProperties", "maxProperties", "unevaluatedProperties"),
    },
}
REFUSED = {
    *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies"),
    *("contains", "minContains", "maxContains", "uniqueItems", "additionalItems"),
    *("$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"),
}
BRANCHES = {"$ref", "enum", "const", "anyOf", "oneOf", "allOf"}
CONSTRAINTS = BRANCHES | {"type"} | set().union(*KEYWORDS_OF.values())
ANNOTATIONS = {
    *("title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "discriminator"),
    *("$comment", "$schema", "$id", "id", "$vocabulary", "$defs", "definitions"),
}
"""What asks for nothing. Other unknown keywords, perhaps misspelled, are listed as not enforced, but for those with `x-`."""
# Other formats are annotations, as the standard has it: they are listed as not enforced.
FORMATS = {
    *("date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uri-reference", "uri-template"),
    *("uuid", "json-pointer", "relative-json-pointer"),
}
LARGEST_EXACT = 2**53
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_DATE = (
    r"(?:(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])-"
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
    r"|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)"
)
_BYTE, _POINTER = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)", "(?:/(?:[^~/]|~[01])*)*"
# The backend's own are too wide: a 31st of February, bytes that begin with 0, quotes inside pointers.
EXACT_FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "ipv4": rf"(?:{_BYTE}\.){{3}}{_BYTE}",
    "json-pointer": _POINTER,
    "relative-json-pointer": rf"(?:0|[1-9]\d*)(?:#|{_POINTER})",
}


def enforceable(text: str) -> tuple[str, tuple[str, ...]]:
    """The schema as the backend is to read it, and what of it is not enforced (an unknown format), by its place.

    Raises InvalidRequest for text that is no schema, NotSupported for a keyword that cannot be enforced, with its path.
    """
    try:
        schema = json.loads(text)
        schema = {} if schema is True else schema
        walk = _Walk(schema)
        walk.visit(schema, "")
        return json.dumps(schema), tuple(walk.unenforced)
    except json.JSONDecodeError as error:
        raise InvalidRequest(FIELD, text, f"JSON ({error})") from None
    except TypeError as error:  # a list or a text where the standard wants a name or a number
        raise InvalidRequest(FIELD, text, f"a JSON Schema ({error})") from None
    except RecursionError:
        raise InvalidRequest(FIELD, text, "less deeply nested") from None


class _Walk:
    """Visits what is reachable from the root, once, and narrows it in place."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.seen: set[int] = set()
        self.unenforced: list[str] = []

    def refused(self, path: str, what: str, hint: str = "") -> NotSupported:
        return NotSupported(f"{FIELD}{path}: {what} cannot be enforced while generating", hint=hint)

    def visit(self, schema: Any, path: str) -> None:
        if schema is True or id(schema) in self.seen:
            return
        if not isinstance(schema, dict):
            raise InvalidRequest(f"{FIELD}{path}", schema, "a schema: an object, or true")
        self.seen.add(id(schema))
        for keyword in REFUSED & schema.keys():
            if keyword != "uniqueItems" or schema[keyword] is not False:
                raise self.refused(path, f"{keyword!r}")
        for keyword in sorted(schema.keys() - CONSTRAINTS - ANNOTATIONS - REFUSED):
            if not keyword.startswith("x-"):
                self.unenforced.append(f"{FIELD}{path}: keyword {json.dumps(keyword)}")
        if branches := BRANCHES & schema.keys():
            self.visit_branches(schema, path, branches)
            return
        self.add_type(schema, path)
        self.visit_string(schema, path)
        types = types_of(schema)
        if "multipleOf" in schema and "number" in types:
            raise self.refused(path, "'multipleOf' of a number", hint="use type integer")
        self.visit_array(schema, path)
        self.visit_object(schema, path)

    def visit_branches(self, schema: dict[str, Any], path: str, branches: set[str]) -> None:
        if "allOf" in schema and (len(_listed(schema["allOf"], path)) > 1 or (CONSTRAINTS & schema.keys()) - {"allOf"}):
            self.merge(schema, path)
            return
        keyword = min(branches)
        others = (CONSTRAINTS & schema.keys()) - {keyword}
        values = schema["enum"] if keyword == "enum" else [schema["const"]] if keyword == "const" else None
        if values is not None and others == {"type"}:
            if not all(_type_of(value) & types_of(schema) for value in _listed(values, path)):
                raise self.refused(path, f"{keyword!r} with values of another type")
        elif others:
            listed = ", ".join(map(repr, sorted(others)))
            raise self.refused(path, f"{keyword!r} beside {listed}", hint="put all of it into each branch")
        if values is not None:
            if any(abs(number) > LARGEST_EXACT for number in _integers(values)):
                raise self.refused(path, "an integer above 2**53")
        elif keyword == "$ref":
            self.visit(self.target(schema["$ref"], path), f"{path}.$ref")
        else:
            for i, branch in enumerate(_listed(schema[keyword], path)):
                self.visit(branch, f"{path}.{keyword}[{i}]")
            if keyword == "oneOf":
                if not all(self.apart(a, b) for a, b in combinations(schema["oneOf"], 2)):
                    hint = "use anyOf, or a property that tells them apart"
                    raise self.refused(path, "'oneOf' of schemas that may hold together", hint)
                schema["anyOf"] = schema.pop("oneOf")

    def merge(self, schema: dict[str, Any], path: str) -> None:
        """`allOf`, and what stands beside it, as one schema; then that is visited."""
        parts = [{name: value for name, value in schema.items() if name != "allOf"}]
        for i, part in enumerate(schema["allOf"]):
            found = {} if part is True else part
            for _ in range(8):  # a reference to a reference
                if isinstance(found, dict) and "$ref" in found:
                    beside = {name: value for name, value in found.items() if name != "$ref"}
                    target = self.target(found["$ref"], path)
                    found = {**target, **beside} if isinstance(target, dict) and not CONSTRAINTS & beside.keys() else None
            if not isinstance(found, dict) or "$ref" in found:
                raise self.refused(path, f"'allOf' with the schema number {i}", hint="write them as one")
            parts.append(copy.deepcopy(found))
        try:
            whole = merged(parts)
        except CannotMerge as error:
            raise self.refused(path, f"'allOf' of several schemas ({error})", hint="write them as one") from None
        schema.clear()
        schema.update(whole)
        self.seen.discard(id(schema))
        self.visit(schema, path)

    def add_type(self, schema: dict[str, Any], path: str) -> None:
        implied = [name for name, keywords in KEYWORDS_OF.items() if keywords & schema.keys()]
        if "type" not in schema and implied:
            if len(implied) > 1:
                raise self.refused(path, f"keywords of {' and '.join(implied)} without 'type'", hint="add type")
            schema["type"] = implied[0]

    def visit_string(self, schema: dict[str, Any], path: str) -> None:
        if "format" in schema and schema["format"] not in FORMATS:
            self.unenforced.append(f"{FIELD}{path}: format {json.dumps(schema.pop('format'))}")
        together = {"pattern", "format"} & schema.keys()
        if together and len(together | ({"minLength", "maxLength"} & schema.keys())) > 1:
            listed = " and ".join(map(repr, sorted(together)))
            raise self.refused(path, f"{listed} beside a length or each other", hint="write the length into the pattern")
        if schema.get("format") in EXACT_FORMATS:
            schema["pattern"] = EXACT_FORMATS[schema.pop("format")]
        if {"minLength", "maxLength"} & schema.keys():  # the backend would let control characters into such a string
            low, high = schema.pop("minLength", 0), schema.pop("maxLength", "")
            schema["pattern"] = f"(?s:.){{{_count(low, path)},{high and _count(high, path)}}}"
        if "pattern" in schema:
            schema["pattern"] = _pattern(schema["pattern"], f"{path}.pattern")

    def visit_array(self, schema: dict[str, Any], path: str) -> None:
        if schema.get("unevaluatedItems", False) is not False:
            raise self.refused(path, "'unevaluatedItems' other than false")
        if {"minItems", "maxItems"} & schema.keys() and "prefixItems" not in schema:
            schema.setdefault("items", True)
        if "items" in schema and schema["items"] is not False:
            self.visit(schema["items"], f"{path}.items")
        for i, item in enumerate(_listed(schema.get("prefixItems", []), path)):
            self.visit(item, f"{path}.prefixItems[{i}]")

    def visit_object(self, schema: dict[str, Any], path: str) -> None:
        properties, patterns, names = (schema.get(key, {}) for key in ("properties", "patternProperties", "propertyNames"))
        if not all(isinstance(part, dict) for part in (properties, patterns, names)):
            raise InvalidRequest(f"{FIELD}{path}", schema, "a schema whose properties are objects")
        if schema.get("unevaluatedProperties", False) is not False:
            raise self.refused(path, "'unevaluatedProperties' other than false")
        if bool(properties) + len(patterns) + bool(names) > 1:
            raise self.refused(path, "several rules for the names of properties")
        required = _listed(schema.get("required", []), path)
        if unknown := {name: schema.get("additionalProperties", True) for name in required if name not in properties}:
            if patterns or names or False in unknown.values():
                raise self.refused(path, f"required property {min(unknown)!r} without a schema", hint="list it in properties")
            properties = schema["properties"] = properties | unknown
        if schema.get("minProperties", 0) > 0 and (not properties or patterns or schema.get("additionalProperties", False)):
            raise self.refused(path, "'minProperties' where names are free", hint="list the properties")
        if names.keys() & CONSTRAINTS - {"pattern", "type"}:
            raise self.refused(path, "'propertyNames' other than a pattern")
        if "pattern" in names:
            names["pattern"] = _pattern(names["pattern"], f"{path}.propertyNames.pattern")
        if patterns:
            schema["patternProperties"] = {_pattern(key, f"{path}.patternProperties"): value for key, value in patterns.items()}
        for name, value in (*properties.items(), *patterns.items()):
            self.visit(value, f"{path}.{name}")
        if schema.get("additionalProperties", False) is not False:
            self.visit(schema["additionalProperties"], f"{path}.additionalProperties")

    def target(self, pointer: Any, path: str) -> Any:
        """What a `$ref` points to, within this schema."""
        found = self.root
        try:
            head, *names = pointer.split("/")
            for name in names:
                found = found[int(name)] if isinstance(found, list) else found[name]
        except (AttributeError, KeyError, IndexError, ValueError, TypeError):
            head = ""
        if head != "#":
            raise self.refused(path, f"the reference {pointer!r}", hint="references go to '#/$defs/NAME' in the schema itself")
        return found

    def apart(self, a: Any, b: Any, depth: int = 0) -> bool:
        """Whether no value can satisfy both; False where that is not plain to see."""
        a, b = self.resolved(a), self.resolved(b)
        if not isinstance(a, dict) or not isinstance(b, dict) or depth > 8:
            return False
        if not types_of(a) & types_of(b):
            return True
        if (values := _values(a)) is not None and (others := _values(b)) is not None:
            return not values & others
        both = set(a.get("required", ())) & set(b.get("required", ()))
        return any(self.apart(a["properties"][name], b["properties"][name], depth + 1) for name in both)

    def resolved(self, schema: Any) -> Any:
        for _ in range(8):
            if not isinstance(schema, dict) or "$ref" not in schema:
                break
            schema = self.target(schema["$ref"], "")
        return schema


def _pattern(pattern: Any, path: str) -> str:
    if not isinstance(pattern, str):
        raise InvalidRequest(f"{FIELD}{path}", pattern, "a string")
    return plain_regex(pattern, field=f"{FIELD}{path}", allowed=IN_JSON_STRINGS)


def _count(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 0:
        raise InvalidRequest(f"{FIELD}{path}", value, "a length: an integer, at least 0")
    return int(value)


def _listed(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidRequest(f"{FIELD}{path}", value, "a list here")
    return value


def types_of(schema: Mapping[str, Any]) -> set[str]:
    """The JSON types a schema names; `number` brings `integer` along."""
    named = schema.get("type", ["string", "number", "array", "object", "boolean", "null"])
    if "type" not in schema and (values := schema.get("enum", [schema["const"]] if "const" in schema else None)) is not None:
        return set().union(*map(_type_of, values))
    types = {named} if isinstance(named, str) else set(named)
    return types | {"integer"} if "number" in types else types


def _type_of(value: Any) -> set[str]:
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return {"integer", "number"}
    names = {float: "number", str: "string", list: "array", dict: "object", type(None): "null"}
    return {names[type(value)]}


def _values(schema: Mapping[str, Any]) -> set[str] | None:
    """The values a schema lists, spelled so that equal ones are equal."""
    if "const" in schema:
        return {json.dumps(schema["const"], sort_keys=True)}
    return {json.dumps(value, sort_keys=True) for value in schema["enum"]} if "enum" in schema else None


def _integers(value: Any) -> Iterable[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _integers(part)
