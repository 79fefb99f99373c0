"""Structural tags: free text in which the parts between certain marks are constrained, as in tool calls.

The form is xgrammar's (`{"format": {"type": "triggered_tags", ...}}`) or the older one of `structures` and `triggers`. Every
schema, regular expression and grammar inside is treated like one that stands alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from workbench.errors import InvalidRequest, NotSupported, WorkbenchError
from workbench.grammar.ebnf import plain_ebnf
from workbench.grammar.regex import plain_regex
from workbench.grammar.schema.build import read_schema
from workbench.types import GrammarKind, GrammarSpec

FIELD = "structural_tag"
TEXT, TEXTS, FLAG, COUNT = "a string", "a list of strings", "true or false", "an integer"
PART, PARTS, TAGS, ANY = "an object with 'type'", "a list of objects with 'type'", "a list of tags", "a JSON schema"
FIELDS: Mapping[str, Mapping[str, str]] = {
    "const_string": {"value": TEXT}, "any_text": {"excludes": TEXTS}, "json_schema": {"json_schema": ANY},
    "regex": {"pattern": TEXT}, "grammar": {"grammar": TEXT}, "sequence": {"elements": PARTS}, "or": {"elements": PARTS},
    "tag": {"begin": TEXT, "content": PART, "end": f"{TEXT}, or {TEXTS}"}, "optional": {"content": PART},
    "plus": {"content": PART}, "star": {"content": PART}, "repeat": {"min": COUNT, "max": COUNT, "content": PART},
    "triggered_tags": {"triggers": TEXTS, "tags": TAGS, "at_least_one": FLAG, "stop_after_first": FLAG, "excludes": TEXTS},
    "tags_with_separator": {"tags": TAGS, "separator": TEXT, "at_least_one": FLAG, "stop_after_first": FLAG},
}  # fmt: skip
"""Fields of each format. Formats of single tokens are not among them: special tokens are no part of an output's text."""
OPTIONAL = {"excludes", "at_least_one", "stop_after_first"}


def read_structural_tag(text: str) -> tuple[str, tuple[str, ...]]:
    """Returns (the tag for the backend, the parts that are not enforced). Raises InvalidRequest or NotSupported with the
    place."""
    try:
        tag = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(FIELD, text, f"JSON ({error})") from None
    if not isinstance(tag, dict) or not ({"format"} & tag.keys() or {"structures", "triggers"} <= tag.keys()):
        raise InvalidRequest(FIELD, text, "an object with 'format', or with 'structures' and 'triggers'")
    unenforced: list[str] = []
    read = _read(tag["format"] if "format" in tag else _from_structures(tag), "format", unenforced)
    return json.dumps({"type": "structural_tag", "format": read}), tuple(unenforced)


def constraints_in(text: str) -> Iterator[tuple[str, GrammarSpec]]:
    """Yields (path, constraint) for each constraint inside a tag that `read_structural_tag` accepts."""
    tag = json.loads(text)
    yield from _constraints(tag["format"] if "format" in tag else _from_structures(tag), "format")


def _constraints(part: Any, path: str) -> Iterator[tuple[str, GrammarSpec]]:
    kinds: dict[str, tuple[GrammarKind, str]] = {
        "json_schema": ("json_schema", "json_schema"), "regex": ("regex", "pattern"), "grammar": ("ebnf", "grammar"),
    }  # fmt: skip
    if part.get("type") in kinds:
        kind, name = kinds[part["type"]]
        yield path, GrammarSpec(kind, part[name] if isinstance(part[name], str) else json.dumps(part[name]))
    if "content" in part:
        yield from _constraints(part["content"], f"{path}.content")
    for name in ("elements", "tags"):
        for i, item in enumerate(part.get(name, ())):
            yield from _constraints(item, f"{path}.{name}[{i}]")


def _from_structures(tag: Mapping[str, Any]) -> dict[str, Any]:
    structures, needed = tag["structures"], {"begin", "schema", "end"}
    if not isinstance(structures, list) or not all(isinstance(part, dict) and needed <= part.keys() for part in structures):
        raise InvalidRequest(f"{FIELD}.structures", structures, "a list of objects with begin, schema and end")
    tags = [
        {"begin": part["begin"], "content": {"type": "json_schema", "json_schema": part["schema"]}, "end": part["end"]}
        for part in structures
    ]
    return {"type": "triggered_tags", "triggers": tag["triggers"], "tags": tags}


def _read(part: Any, path: str, unenforced: list[str], kind: str = "") -> dict[str, Any]:
    kind = part.get("type", kind) if isinstance(part, dict) else ""
    if not isinstance(kind, str) or not kind:
        raise InvalidRequest(f"{FIELD}.{path}", part, PART)
    if kind not in FIELDS:
        raise NotSupported(f"{FIELD}.{path}: a format of type {kind!r} is not supported", hint=f"there are {', '.join(FIELDS)}")
    if unknown := part.keys() - FIELDS[kind].keys() - {"type"}:
        raise NotSupported(f"{FIELD}.{path}: {min(unknown)!r} of {kind} is not supported", hint="leave it out")
    for name, expected in FIELDS[kind].items():
        if (name in part or name not in OPTIONAL) and not _is(part.get(name), expected):
            raise InvalidRequest(f"{FIELD}.{path}.{name}", part.get(name), expected)
    read: dict[str, Any] = {**part, "type": kind}
    if kind == "json_schema":
        unenforced += [f"{FIELD}.{path}: {what}" for what in _unenforced(part["json_schema"], path)]
    elif kind == "regex":
        read["pattern"] = plain_regex(part["pattern"], field=f"{FIELD}.{path}")
    elif kind == "grammar":
        read["grammar"] = plain_ebnf(part["grammar"], f"{FIELD}.{path}.grammar")
    if "content" in part:
        read["content"] = _read(part["content"], f"{path}.content", unenforced)
    for name, inner in (("elements", ""), ("tags", "tag")):
        if name in part:
            read[name] = [_read(item, f"{path}.{name}[{i}]", unenforced, inner) for i, item in enumerate(part[name])]
    return read


def _is(value: Any, expected: str) -> bool:
    is_texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    fits = {
        TEXT: isinstance(value, str), TEXTS: is_texts, f"{TEXT}, or {TEXTS}": isinstance(value, str) or is_texts,
        FLAG: isinstance(value, bool), COUNT: isinstance(value, int) and not isinstance(value, bool),
        PART: isinstance(value, dict), PARTS: isinstance(value, list), TAGS: isinstance(value, list),
        ANY: isinstance(value, (dict, bool)),
    }  # fmt: skip
    return fits[expected]


def _unenforced(schema: Any, path: str) -> tuple[str, ...]:
    """Returns the parts of a schema that are not enforced. Errors name the place of the schema in the tag."""
    try:
        return read_schema(json.dumps(schema), counts=False).unenforced
    except WorkbenchError as error:
        error.message = f"{FIELD}.{path}: {error.message}"
        raise
