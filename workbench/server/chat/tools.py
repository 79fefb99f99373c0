"""Tools of a call: their definitions, the format in which the model writes calls, and the constraint of a forced call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.server.chat.call import ChatCall

MARKS = {"<tool_call>": "hermes", "[TOOL_CALLS]": "mistral", "<|python_tag|>": "llama3", "<｜tool▁calls▁begin｜>": "deepseekv3"}
"""The format of calls by a mark in the model's chat template."""
SPECIAL = frozenset({"mistral", "llama3", "deepseekv3", "pythonic"})
"""Formats whose marks are special tokens, which the output then has to show."""
MAX_TOOLS = 1024
ANY_OBJECT = {"type": "object"}


@dataclass(frozen=True)
class ToolPlan:
    """The way in which the calls of one answer are read and enforced."""

    parser: str | None = None
    """Format of the parser; None leaves calls in the text."""
    names: frozenset[str] = frozenset()
    structural_tag: Mapping[str, Any] | None = None
    """Constraint that makes the model call, or that makes arguments of strict tools follow their schema."""


def functions_of(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the functions of tools, wrapped as in OpenAI's API or bare. Raises InvalidRequest."""
    if len(tools) > MAX_TOOLS:
        raise InvalidRequest.because("tools", f"{len(tools)} tools are given; the limit is {MAX_TOOLS}", hint="give fewer")
    functions = []
    for i, tool in enumerate(tools):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
            raise InvalidRequest(f"tools[{i}]", tool, 'a tool like {"type": "function", "function": {"name": "f"}}')
        if not isinstance(function.get("parameters") or {}, Mapping):
            raise InvalidRequest(f"tools[{i}].function.parameters", function["parameters"], "a JSON schema")
        functions.append(dict(function))
    return functions


def plan_tools(call: ChatCall, parser: str | None, template: str) -> ToolPlan:
    """Returns the plan of a call.

    Raises InvalidRequest for a choice that no tool meets, NotSupported for strict tools in a format that is not enforced.
    """
    functions = functions_of(call.tools)
    chosen = chosen_function(call)
    names = frozenset(function["name"] for function in functions)
    if chosen is not None and chosen not in names:
        raise InvalidRequest("tool_choice", chosen, f"the name of a tool ({', '.join(sorted(names)) or 'none is given'})")
    if not functions:
        if call.tool_choice == "required":
            raise InvalidRequest.because("tool_choice", "tool_choice is required and no tool is given", hint="give tools")
        return ToolPlan()
    if call.tool_choice == "none":
        return ToolPlan()
    found = parser or next((name for mark, name in MARKS.items() if mark in template), "hermes")
    if chosen is not None or call.tool_choice == "required":
        usable = [function for function in functions if chosen in (None, function["name"])]
        form = found if found in ("qwen25", "hermes") else "hermes"
        several = call.parallel_tool_calls and chosen is None
        return ToolPlan(form, names, _forced([_tag(function) for function in usable], several))
    strict = [function for function in functions if function.get("strict")]
    if strict and found not in ("qwen25", "hermes"):
        raise NotSupported(
            f"strict tools need the format hermes or qwen25; this server reads {found}",
            hint="leave out strict, or set tool_choice: required",
        )
    return ToolPlan(found, names, _triggered([_tag(function) for function in functions]) if strict else None)


def chosen_function(call: ChatCall) -> str | None:
    """Returns the name that `tool_choice` names, None if it is a word. Raises InvalidRequest for anything else."""
    choice = call.tool_choice
    if isinstance(choice, Mapping):
        name = choice.get("function", choice)
        name = name.get("name") if isinstance(name, Mapping) else None
        if isinstance(name, str):
            return name
    elif choice in ("none", "auto", "required"):
        return None
    raise InvalidRequest("tool_choice", choice, 'none, auto, required, or {"type": "function", "function": {"name": "f"}}')


def _tag(function: Mapping[str, Any]) -> dict[str, Any]:
    schema = function.get("parameters") or ANY_OBJECT
    begin = f'<tool_call>\n{{"name": "{function["name"]}", "arguments": '
    content = {"type": "json_schema", "json_schema": schema if schema.get("type") else {**schema, "type": "object"}}
    return {"type": "tag", "begin": begin, "content": content, "end": "}\n</tool_call>"}


def _forced(tags: list[dict[str, Any]], several: bool) -> dict[str, Any]:
    return {"type": "structural_tag", "format": {
        "type": "tags_with_separator", "tags": tags, "separator": "\n", "at_least_one": True, "stop_after_first": not several,
    }}  # fmt: skip


def _triggered(tags: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": ["<tool_call>"], "tags": tags}}
