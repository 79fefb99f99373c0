"""Reads the items of a conversation of `/v1/responses` as messages of chat completions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.server.chat.messages import read_content
from workbench.text.parts import has_media

Message = dict[str, Any]


def read_items(items: Iterable[Mapping[str, Any]], name: str = "input") -> list[Message]:
    """Returns the messages. Items of the assistant that follow each other are one. Raises InvalidRequest, NotSupported."""
    messages: list[Message] = []
    for i, item in enumerate(items):
        place = f"{name}[{i}]"
        kind = item.get("type", "message")
        if kind == "message":
            _add_message(messages, item, place)
        elif kind == "reasoning":
            _own(messages)["reasoning_content"] = _thought(item.get("content") or (), f"{place}.content")
        elif kind == "function_call":
            if item.get("status") != "incomplete":  # the limit of tokens cut it off
                _own(messages).setdefault("tool_calls", []).append(_call(item, place))
        elif kind == "function_call_output":
            if not isinstance(item.get("call_id"), str):
                raise InvalidRequest(f"{place}.call_id", item.get("call_id"), "the call_id of a function_call")
            content = read_content(item.get("output"), f"{place}.output")
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})
        else:
            raise NotSupported(
                f"{place}: items of the type {kind!r} are not supported",
                hint="send items of type message, function_call, function_call_output or reasoning",
            )
    return messages


def _add_message(messages: list[Message], item: Mapping[str, Any], place: str) -> None:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise InvalidRequest(f"{place}.role", role, "user, assistant, system or developer")
    if role != "assistant" and has_media([item]):
        messages.append({"role": role, "content": item["content"]})  # it is read with the chat template
        return
    text = read_content(item.get("content"), f"{place}.content")
    if role != "assistant":
        messages.append({"role": role, "content": text})
        return
    own = _own(messages)
    own["content"] = f"{own['content']}\n{text}" if own["content"] else text


def _own(messages: list[Message]) -> Message:
    """Returns the last message if it is the assistant's, else a new one."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": ""})
    return messages[-1]


def _thought(parts: Any, place: str) -> str:
    if not isinstance(parts, Sequence) or not all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in parts
    ):
        raise InvalidRequest(place, parts, "a list of parts with a text")
    return "\n".join(part["text"] for part in parts)


def _call(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    for field in ("call_id", "name", "arguments"):
        if not isinstance(item.get(field), str):
            raise InvalidRequest(f"{place}.{field}", item.get(field), "a string")
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function}
