"""The one constraint of a call: of its response format, its extra fields, and its tools, behind the model's reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.errors import InvalidRequest
from workbench.server.chat.tools import Part, ToolChoice
from workbench.tool_calls.reasoning import ReasoningFormat
from workbench.types import GRAMMAR_FIELDS

Fields = dict[str, Any]


def response_fields(response_format: Mapping[str, Any] | None) -> Fields:
    """Returns the sampling parameter that a response format sets. Raises InvalidRequest for an unknown one."""
    if response_format is None:
        return {}
    kind = response_format.get("type")
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"json_object": True}
    if kind == "structural_tag":
        return {"structural_tag": {name: value for name, value in response_format.items() if name != "type"}}
    if kind == "json_schema":
        given = response_format.get("json_schema", response_format)
        schema = given.get("schema", given.get("schema_")) if isinstance(given, Mapping) else None
        if not isinstance(schema, (Mapping, bool)):
            raise InvalidRequest("response_format.json_schema.schema", schema, "a JSON schema")
        return {"json_schema": schema}
    raise InvalidRequest("response_format.type", kind, '"text", "json_object", "json_schema" or "structural_tag"')


def constrained(
    fields: Mapping[str, Any], tools: ToolChoice | None, reasoning: ReasoningFormat | None, is_inside: bool
) -> Fields:
    """Returns sampling parameters in which the constraints of `fields` and of the tools are one.

    With a reasoning format, JSON and calls begin behind the reasoning; `is_inside`: the prompt has begun it. A regex or a
    grammar describes the whole text.
    """
    rest = {name: value for name, value in fields.items() if name not in GRAMMAR_FIELDS}
    given: Fields = {k: value for k, value in fields.items() if k in GRAMMAR_FIELDS and value not in (None, False, ())}
    if len(given) > 1:
        names = list(given)
        message = f"{' and '.join(names)} are given together: a request has one constraint"
        raise InvalidRequest.because(names[1], message, hint="keep one of them")
    name, value = next(iter(given.items()), ("", None))
    part = _with_tools(name, value, tools)
    if part is None and reasoning is not None and name:
        part = _part(name, value)
    if part is None:
        return {**rest, **given}
    if reasoning is not None:
        part = {"type": "sequence", "elements": [_thought(reasoning, is_inside), part]}
    return {**rest, "structural_tag": {"type": "structural_tag", "format": part}}


def _with_tools(name: str, value: Any, tools: ToolChoice | None) -> Part | None:
    """Returns the format that the tools demand, None if they demand nothing."""
    if tools is None:
        return None
    if name in ("json_schema", "json_object") and (own := _part(name, value)) is not None:
        return tools.calls() if tools.is_forced else {"type": "or", "elements": [tools.calls(), own]}
    if name and (tools.is_forced or tools.is_strict):
        what = "tool_choice" if tools.is_forced else "a strict tool"
        raise InvalidRequest.because(name, f"{name} and {what} are both constraints of the text", hint="keep one of them")
    if tools.is_forced:
        return tools.calls()
    return tools.free_or_calls() if tools.is_strict else None


def _part(name: str, value: Any) -> Part | None:
    """Returns JSON of a schema as a part of a structural tag; None for other constraints."""
    match name:
        case "json_schema" if isinstance(value, (Mapping, bool)):
            return {"type": "json_schema", "json_schema": value}
        case "json_object":
            return {"type": "json_schema", "json_schema": {"type": "object"}}
    return None


def _thought(reasoning: ReasoningFormat, is_inside: bool) -> Part:
    begin = "" if is_inside else reasoning.start
    thought = {"type": "tag", "begin": begin, "content": {"type": "any_text", "excludes": []}, "end": reasoning.end}
    return thought if is_inside else {"type": "optional", "content": thought}
