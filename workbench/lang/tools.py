"""How a model is told of tools where no chat template of its own does it: the default format.

    You may call these functions:
    {"name": "weather", "description": "...", "parameters": {...}}
    To call one, answer with one line of JSON and nothing else: {"name": "weather", "arguments": {...}}

The block stands before all other text; in a conversation it is the system message, or the end of the one that is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Tool = Mapping[str, Any]


def function_of(tool: Tool) -> dict[str, Any]:
    """A tool without OpenAI's wrapper around it: `name`, `description`, `parameters`."""
    return dict(tool["function"] if tool.get("type") == "function" and isinstance(tool.get("function"), Mapping) else tool)


def wrapped(tool: Tool) -> dict[str, Any]:
    """A tool in OpenAI's form, which chat templates read."""
    return {"type": "function", "function": function_of(tool)}


def tools_text(tools: Sequence[Tool]) -> str:
    """The block that names the tools."""
    functions = [json.dumps(function_of(tool), ensure_ascii=False) for tool in tools]
    call = '{"name": "...", "arguments": {...}}'
    return "\n".join(
        ["You may call these functions:", *functions, f"To call one, answer with one line of JSON and nothing else: {call}"]
    )


def with_tools(messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The conversation with the block in its system message, for a template that has no place for tools."""
    told = [dict(message) for message in messages]
    if told and told[0]["role"] == "system" and isinstance(told[0]["content"], str):
        return [{**told[0], "content": f"{told[0]['content']}\n\n{tools_text(tools)}"}, *told[1:]]
    return [{"role": "system", "content": tools_text(tools)}, *told]
