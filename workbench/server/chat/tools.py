"""Tools: their definitions, the choice among them, and the constraint that makes a model call them as its format demands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import InvalidRequest
from workbench.lang.tools import function_of
from workbench.server.chat.call import ChatCall

Part = dict[str, Any]
"""A format of a structural tag."""


@dataclass(frozen=True, slots=True)
class Form:
    """The exact text of calls in one format, when a constraint writes them. `NAME` stands for the tool's name."""

    begin: str
    end: str
    separator: str
    open: str = ""
    close: str = ""
    trigger: str = ""
    """The text that can only begin a call. Empty: a call begins with `{` at the start of the output."""


_HERMES = Form('<tool_call>\n{"name": NAME, "arguments": ', "}\n</tool_call>", "\n", trigger="<tool_call>")
_LLAMA3 = Form('{"name": NAME, "parameters": ', "}", "; ")
FORMS = {
    "hermes": _HERMES,
    "qwen25": _HERMES,
    "llama3": _LLAMA3,
    "mistral": Form('{"name": NAME, "arguments": ', "}", ", ", "[TOOL_CALLS][", "]", trigger="[TOOL_CALLS]"),
    "deepseekv3": Form(
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>PLAIN\n```json\n", "\n```<｜tool▁call▁end｜>", "\n", "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>", trigger="<｜tool▁calls▁begin｜>",
    ),
}  # fmt: skip
"""Form by the parser that reads it. Python's calls have none: forced calls are then written as `llama3` reads them."""
MARKS = {
    "<tool_call>": "hermes", "[TOOL_CALLS]": "mistral", "<｜tool▁calls▁begin｜>": "deepseekv3", "<|python_start|>": "pythonic",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """The tools of a call, the ones that the model may call, and the parser of its calls."""

    shown: Sequence[Mapping[str, Any]]
    """The tools that the prompt describes."""
    functions: Sequence[Mapping[str, Any]]
    """The functions that may be called."""
    parser: str
    is_forced: bool
    parallel: bool

    @property
    def is_strict(self) -> bool:
        return any(function.get("strict") for function in self.functions)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(str(function["name"]) for function in self.functions)

    def calls(self) -> Part:
        """Returns the format of one or more calls and nothing else."""
        form = FORMS.get(self.parser, _LLAMA3)
        tags = [_tag(function, form, self.is_forced) for function in self.functions]
        calls: Part = {
            "type": "tags_with_separator", "tags": tags, "separator": form.separator, "at_least_one": True,
            "stop_after_first": not self.parallel,
        }  # fmt: skip
        return {"type": "tag", "begin": form.open, "content": calls, "end": form.close} if form.open else calls

    def free_or_calls(self) -> Part:
        """Returns the format of any text in which calls are written as the tools' schemas demand."""
        form = FORMS.get(self.parser, _LLAMA3)
        if not form.trigger:
            rest = {"type": "any_text", "excludes": ["<|python_tag|>"]}
            text = {"type": "sequence", "elements": [{"type": "regex", "pattern": r"[^{<\[\s]"}, rest]}
            return {"type": "or", "elements": [self.calls(), text]}
        calls = self.calls()
        tags = [calls] if form.open else calls["tags"]
        return {"type": "triggered_tags", "triggers": [form.trigger], "tags": tags, "stop_after_first": not self.parallel}


def choose(call: ChatCall, parser: str | None, template: str) -> ToolChoice | None:
    """Returns the choice of a call, None if no tool may be called. Raises InvalidRequest for one that is impossible."""
    functions = [_function(tool, f"tools[{i}]") for i, tool in enumerate(call.tools)]
    choice = "auto" if call.tool_choice is None else call.tool_choice
    if isinstance(choice, Mapping):
        functions = _allowed(choice, functions)
        is_forced = choice.get("type") != "allowed_tools" or choice["allowed_tools"].get("mode") == "required"
    elif choice in ("none", "auto", "required"):
        is_forced = choice == "required"
    else:
        raise InvalidRequest("tool_choice", choice, '"none", "auto", "required" or a function of tools')
    if is_forced and not functions:
        raise InvalidRequest.because("tool_choice", "tool_choice needs tools, and none are given", hint="give tools")
    if choice == "none" or not functions:
        return None
    if parser is None:
        parser = next((name for mark, name in MARKS.items() if mark in template), "llama3")
    if parser == "pythonic" and (is_forced or any(function.get("strict") for function in functions)):
        parser = "llama3"
    return ToolChoice(call.tools, functions, parser, is_forced, call.parallel_tool_calls)


def _function(tool: Any, place: str) -> dict[str, Any]:
    if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
        raise InvalidRequest(place, tool, 'a tool like {"type": "function", "function": {"name": "f", "parameters": {}}}')
    function = function_of(tool)
    name, parameters = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or not name or len(name) > 256:
        raise InvalidRequest(f"{place}.function.name", name, "a name of 1 to 256 characters")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise InvalidRequest(f"{place}.function.parameters", parameters, "a JSON schema")
    return function


def _allowed(choice: Mapping[str, Any], functions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the functions that a choice names."""
    named = choice.get("function", choice)
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        tools = allowed.get("tools") if isinstance(allowed, Mapping) else None
        names = [_function(tool, f"tool_choice.tools[{i}]")["name"] for i, tool in enumerate(tools or ())]
    elif isinstance(named, Mapping) and isinstance(named.get("name"), str):
        names = [named["name"]]
    else:
        raise InvalidRequest("tool_choice", choice, 'a choice like {"type": "function", "function": {"name": "f"}}')
    known = {function["name"] for function in functions}
    if not names or not known.issuperset(names):
        raise InvalidRequest("tool_choice", ", ".join(names), f"one of the tools: {', '.join(sorted(known)) or 'none are given'}")
    return [function for function in functions if function["name"] in names]


def _tag(function: Mapping[str, Any], form: Form, is_forced: bool) -> Part:
    schema = function.get("parameters") if is_forced or function.get("strict") else None
    name = str(function["name"])
    begin = form.begin.replace("NAME", json.dumps(name, ensure_ascii=False)).replace("PLAIN", name)
    return {"type": "tag", "begin": begin, "content": {"type": "json_schema", "json_schema": _object(schema)}, "end": form.end}


def _object(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns a schema of an object: arguments are nothing else."""
    return {**(schema or {}), "type": "object"}
