"""Structural tags: free text in which what stands between certain marks is constrained, as in calls of tools.

The form is xgrammar's (`{"format": {"type": "triggered_tags", ...}}`) or the older one of `structures` and `triggers`.
Every schema, regular expression and grammar inside goes the same way as one that stands alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar.ebnf import plain_ebnf
from workbench.grammar.regex import plain_regex
from workbench.grammar.schema.build import read_schema

FIELD = "structural_tag"
FIELDS: Mapping[str, frozenset[str]] = {
    "const_string": frozenset({"value"}), "any_text": frozenset({"excludes"}), "json_schema": frozenset({"json_schema"}),
    "regex": frozenset({"pattern"}), "grammar": frozenset({"grammar"}), "sequence": frozenset({"elements"}),
    "or": frozenset({"elements"}), "tag": frozenset({"begin", "content", "end"}), "optional": frozenset({"content"}),
    "plus": frozenset({"content"}), "star": frozenset({"content"}), "repeat": frozenset({"min", "max", "content"}),
    "triggered_tags": frozenset({"triggers", "tags", "at_least_one", "stop_after_first", "excludes"}),
    "tags_with_separator": frozenset({"tags", "separator", "at_least_one", "stop_after_first"}),
}  # fmt: skip
"""What a format may say. Formats of single tokens are not among them: special tokens are no part of an output's text."""


def read_structural_tag(text: str) -> tuple[str, tuple[str, ...]]:
    """(the tag for the backend, what of it is not enforced). Raises InvalidRequest or NotSupported with the place."""
    try:
        tag = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(FIELD, text, f"JSON ({error})") from None
    if not isinstance(tag, dict) or not ({"format"} & tag.keys() or {"structures", "triggers"} <= tag.keys()):
        raise InvalidRequest(FIELD, text, "an object with 'format', or with 'structures' and 'triggers'")
    unenforced: list[str] = []
    read = _read(tag["format"] if "format" in tag else _from_structures(tag), "format", unenforced)
    return json.dumps({"type": "structural_tag", "format": read}), tuple(unenforced)


def _from_structures(tag: Mapping[str, Any]) -> dict[str, Any]:
    try:
        tags = [
            {"begin": part["begin"], "content": {"type": "json_schema", "json_schema": part["schema"]}, "end": part["end"]}
            for part in tag["structures"]
        ]
    except (KeyError, TypeError) as error:
        raise InvalidRequest(f"{FIELD}.structures", tag["structures"], f"a list of begin, schema and end ({error!r})") from None
    return {"type": "triggered_tags", "triggers": tag["triggers"], "tags": tags}


def _read(part: Any, path: str, unenforced: list[str], kind: str = "") -> dict[str, Any]:
    if not isinstance(part, dict):
        raise InvalidRequest(f"{FIELD}.{path}", part, "an object with 'type'")
    kind = part.get("type", kind)
    if kind not in FIELDS:
        raise NotSupported(f"{FIELD}.{path}: a format of type {kind!r} is not supported", hint=f"there are {', '.join(FIELDS)}")
    if unknown := part.keys() - FIELDS[kind] - {"type"}:
        raise NotSupported(f"{FIELD}.{path}: {min(unknown)!r} of {kind} is not supported", hint="leave it out")
    read: dict[str, Any] = {**part, "type": kind}
    if kind == "json_schema":
        listed = read_schema(json.dumps(part.get("json_schema"))).unenforced
        unenforced += [f"{FIELD}.{path}: {what}" for what in listed]
    elif kind == "regex":
        read["pattern"] = plain_regex(_text(part.get("pattern"), f"{path}.pattern"), field=f"{FIELD}.{path}")
    elif kind == "grammar":
        read["grammar"] = plain_ebnf(_text(part.get("grammar"), f"{path}.grammar"), f"{FIELD}.{path}.grammar")
    if "content" in part:
        read["content"] = _read(part["content"], f"{path}.content", unenforced)
    for name, inner in (("elements", ""), ("tags", "tag")):
        if name in part:
            if not isinstance(part[name], list):
                raise InvalidRequest(f"{FIELD}.{path}.{name}", part[name], "a list")
            read[name] = [_read(item, f"{path}.{name}[{i}]", unenforced, inner) for i, item in enumerate(part[name])]
    return read


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{FIELD}.{path}", value, "a string")
    return value
