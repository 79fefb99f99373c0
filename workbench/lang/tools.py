"""Describes tools to a model whose chat template does not, in this format:

    You may call these functions:
    {"name": "weather", "description": "...", "parameters": {...}}
    To call one, answer with one line of JSON and nothing else: {"name": "weather", "arguments": {...}}

The block is put before all other text. In a conversation it is the system message, or the end of the existing one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Tool = Mapping[str, Any]


def function_of(tool: Tool) -> dict[str, Any]:
    """Returns a tool without OpenAI's wrapper: `name`, `description`, `parameters`."""
    return dict(tool["function"] if tool.get("type") == "function" and isinstance(tool.get("function"), Mapping) else tool)


def wrapped(tool: Tool) -> dict[str, Any]:
    """Returns a tool in OpenAI's form, which chat templates read."""
    return {"type": "function", "function": function_of(tool)}


def tools_text(tools: Sequence[Tool]) -> str:
    """Returns the block that describes the tools."""
    functions = [json.dumps(function_of(tool), ensure_ascii=False) for tool in tools]
    call = '{"name": "...", "arguments": {...}}'
    return "\n".join(
        ["You may call these functions:", *functions, f"To call one, answer with one line of JSON and nothing else: {call}"]
    )


def with_tools(messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Returns the conversation with the block in its system message, for a template without a place for tools."""
    copied = [dict(message) for message in messages]
    if copied and copied[0]["role"] == "system" and isinstance(copied[0]["content"], str):
        return [{**copied[0], "content": f"{copied[0]['content']}\n\n{tools_text(tools)}"}, *copied[1:]]
    return [{"role": "system", "content": tools_text(tools)}, *copied]
