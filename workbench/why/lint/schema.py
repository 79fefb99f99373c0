"""Findings in a JSON Schema: refused and unenforced parts, values without an end, formats narrower than their standard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from workbench.errors import NotSupported, WorkbenchError
from workbench.grammar.formats import FORMATS, NARROWER
from workbench.grammar.regex import is_whole
from workbench.grammar.schema.build import read_schema
from workbench.why.lint.finding import CUT, Finding, unsupported
from workbench.why.lint.source import has_end
from workbench.why.token.json_place import target, written_path

ANY_ITEM, ANY_NAME = -1, -2
"""Steps of a path that stand for any item and any further property."""
HARDLY_NARROWER = {"date", "time", "date-time", "uri", "uri-reference", "uri-template"}
"""Formats of which only rare values never come."""
TYPE_OF = {
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), "string"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), "number"),
    **dict.fromkeys(("items", "prefixItems", "minItems", "maxItems"), "array"),
    **dict.fromkeys(("properties", "additionalProperties", "patternProperties"), "object"),
}
"""Keyword -> the type that it implies in a schema without `type`."""


def schema_findings(root: Any, prompt: str) -> Iterator[Finding]:
    """Yields the findings of a schema; with `prompt` also about the order in which that names the properties."""
    yield from _refused(root)
    for path, part in subschemas(root):
        yield from _runaway(path, part)
        yield from _narrower(path, part)
    yield from _order(root, prompt)


# -- the parts of a schema --------------------------------------------------------------------------------------


def subschemas(root: Any) -> Iterator[tuple[str, Any]]:
    """Yields (path in the JSON, schema there) for each part once. `[]` stands for any item, `{}` for any other property."""
    seen: set[int] = set()
    below: list[tuple[list[str | int], Any]] = [([], root)]
    while below:
        steps, schema = below.pop(0)
        if id(schema) in seen or not isinstance(schema, (dict, bool)):
            continue
        if isinstance(schema, dict):
            seen.add(id(schema))
            if isinstance(schema.get("$ref"), str):
                below.insert(0, (steps, target(root, schema["$ref"])))
                if len(schema) == 1:
                    continue
            below += [(steps + more, part) for more, part in _children(schema)]
        yield written_path(steps).replace(f"[{ANY_ITEM}]", "[]").replace(f"[{ANY_NAME}]", "{}"), schema


def _children(schema: dict[str, Any]) -> Iterator[tuple[list[str | int], Any]]:
    def entries(keyword: str) -> Iterable[tuple[str, Any]]:
        found = schema.get(keyword)
        return found.items() if isinstance(found, dict) else ()

    def listed(keyword: str) -> Iterable[Any]:
        found = schema.get(keyword)
        return found if isinstance(found, list) else ()

    for name, part in entries("properties"):
        yield [name], part
    for keyword in ("prefixItems", "items"):
        for i, part in enumerate(listed(keyword)):
            yield [i], part
    for keyword in ("items", "additionalItems"):
        if schema.get(keyword, False) is not False:
            yield [ANY_ITEM], schema[keyword]
    if schema.get("additionalProperties", False) is not False:
        yield [ANY_NAME], schema["additionalProperties"]
    for _, part in entries("patternProperties"):
        yield [ANY_NAME], part
    for keyword in ("anyOf", "oneOf", "allOf"):
        for part in listed(keyword):
            yield [], part
    for keyword in ("then", "else"):
        yield [], schema.get(keyword)


def _types(schema: dict[str, Any]) -> set[str]:
    """Returns the types that a schema names or implies."""
    given = schema.get("type")
    if given is None:
        return {TYPE_OF[keyword] for keyword in schema.keys() & TYPE_OF.keys()}
    given = given if isinstance(given, list) else [given]
    return {name for name in given if isinstance(name, str)}


# -- refused or not enforced ------------------------------------------------------------------------------------


def _refused(root: Any) -> Iterator[Finding]:
    """Yields the refusal of the whole, and then those of each part on its own."""
    try:
        for what in read_schema(json.dumps(root)).unenforced:
            path, _, keyword = what.removeprefix("json_schema").partition(": ")
            why = "the text is not checked for it: `meta_info` lists it as unenforced"
            yield Finding(
                "unenforced", path or ".", f"{keyword} is {_told(keyword)}", why, "check it afterwards, or write a pattern"
            )
        return
    except WorkbenchError as error:
        yield unsupported(_path_of(error), error)
        told = {error.message}
    definitions = {key: root[key] for key in ("$defs", "definitions") if isinstance(root, dict) and key in root}
    for path, part in subschemas(root):
        try:
            read_schema(json.dumps({**part, **definitions} if isinstance(part, dict) else part))
        except WorkbenchError as error:
            is_here = not _path_of(error) and "reference" not in error.message
            message = error.message.replace("json_schema", f"json_schema{path if path != '.' else ''}", 1)
            if is_here and message not in told:
                told.add(message)
                yield unsupported(path, NotSupported(message, hint=error.hint))


def _told(what: str) -> str:
    return "an annotation" if what.startswith(("format ", "keyword ")) else "not enforced"


def _path_of(error: WorkbenchError) -> str:
    found = re.match(r"json_schema(\S*?)(?::| is )", error.message)
    return found[1] if found else ""


# -- without an end ---------------------------------------------------------------------------------------------


def _runaway(path: str, schema: Any) -> Iterator[Finding]:
    why = CUT.format("JSON")
    if schema is True or schema == {}:
        yield Finding("runaway", path, "anything may stand there", why, "write the schema of the value")
        return
    if not isinstance(schema, dict) or {"enum", "const"} & schema.keys():
        return
    checks = {"string": _string, "number": _number, "integer": _number, "array": _array, "object": _object}
    for name in sorted(_types(schema) & checks.keys()):
        if found := checks[name](schema):
            yield Finding("runaway", path, f"the {name} {found[0]}", why, f"give it {found[1]}")


def _string(schema: dict[str, Any]) -> tuple[str, str] | None:
    """Returns (the words for what is missing, the advice); None if strings end. The other checks of this kind are alike."""
    pattern, form = schema.get("pattern"), schema.get("format")
    if "maxLength" in schema or (isinstance(form, str) and _format_ends(form)):
        return None
    if not isinstance(pattern, str):
        return "has no maxLength", "a maxLength, or a pattern with counts"
    if not is_whole(pattern):
        return "may go on around its pattern", "a maxLength, or begin the pattern with ^ and end it with $"
    return None if has_end(pattern) else ("has a pattern without end", "a maxLength, or a pattern with counts")


def _number(schema: dict[str, Any]) -> tuple[str, str] | None:
    is_bound = {"minimum", "exclusiveMinimum"} & schema.keys() and {"maximum", "exclusiveMaximum"} & schema.keys()
    return None if is_bound else ("has digits without end", "a minimum and a maximum")


def _array(schema: dict[str, Any]) -> tuple[str, str] | None:
    is_closed = schema.get("items") is False or (isinstance(schema.get("items"), list) and schema.get("additionalItems") is False)
    return None if is_closed or "maxItems" in schema else ("has no maxItems", "maxItems")


def _object(schema: dict[str, Any]) -> tuple[str, str] | None:
    is_open = schema.get("additionalProperties", "properties" not in schema) is not False or schema.get("patternProperties")
    return ("has names without end", "maxProperties") if is_open and "maxProperties" not in schema else None


@cache
def _format_ends(name: str) -> bool:
    return name in FORMATS and has_end(FORMATS[name])


# -- narrower than they look ------------------------------------------------------------------------------------


def _narrower(path: str, schema: Any) -> Iterator[Finding]:
    form = schema.get("format") if isinstance(schema, dict) else None
    if isinstance(form, str) and form in NARROWER and form not in HARDLY_NARROWER and "string" in _types(schema):
        yield Finding(
            "narrower", path, f"of the format {form} these never come: {NARROWER[form]}", "they are right by its standard",
            "leave the format out where such values are needed, and check it afterwards",
        )  # fmt: skip


def _order(root: Any, prompt: str) -> Iterator[Finding]:
    """Yields a finding if the prompt names the properties in another order; without a prompt, a reminder of the order."""
    objects = [
        (path, list(schema["properties"]))
        for path, schema in subschemas(root)
        if isinstance(schema, dict) and isinstance(schema.get("properties"), dict) and len(schema["properties"]) > 1
    ]
    for path, names in objects:
        places = {name: found.start() for name in names if (found := re.search(rf"(?<!\w){re.escape(name)}(?!\w)", prompt))}
        asked, made = sorted(places, key=lambda name: places[name]), [name for name in names if name in places]
        if asked != made:
            yield Finding(
                "order", path, f"the prompt names {', '.join(asked)}; they are generated as {', '.join(made)}",
                "the model wants to begin with another key than it may, and answers in an order it did not plan",
                "put the properties into the order of the prompt, or the prompt into theirs",
            )  # fmt: skip
    if objects and not prompt:
        path, names = objects[0]
        yield Finding(
            "order", path, f"properties come in the order of the schema: {', '.join(names[:6])}{', …' * (len(names) > 6)}",
            "JSON knows no order, and a model that plans another one is held to this",
            "put first what the rest depends on (a reason before its answer), and name them in this order in the prompt",
        )  # fmt: skip
