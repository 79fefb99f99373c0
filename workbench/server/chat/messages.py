"""Brings messages into the one form that chat templates read.

Content is text. Calls are a list in OpenAI's shape, with ids and with arguments as objects. The reference's examples write a
call as one object, in a message of the user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.errors import InvalidRequest, NotSupported

Message = dict[str, Any]
TAKEN = ({"type": "image"}, {"type": "video"})
"""Parts in the place of pictures that were taken out of a message."""


def read_messages(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Returns messages in that form. Raises InvalidRequest or NotSupported with the place of what it cannot read."""
    read: list[Message] = []
    names: dict[str, str] = {}
    """The functions of calls that have no result yet, by the call's id."""
    for i, message in enumerate(messages):
        place = f"messages[{i}]"
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InvalidRequest(place, message, 'a dict with "role" and "content"')
        one = {name: value for name, value in message.items() if value is not None and name != "tool_calls"}
        one["content"] = read_content(message.get("content"), f"{place}.content")
        if calls := _calls(message.get("tool_calls"), f"{place}.tool_calls", len(names)):
            one |= {"role": "assistant", "tool_calls": calls}
            names |= {call["id"]: call["function"]["name"] for call in calls}
        if one["role"] == "tool" and "tool_call_id" not in one and names:
            one["tool_call_id"] = next((id for id, name in names.items() if name == one.get("name")), next(iter(names)))
        names.pop(str(one.get("tool_call_id")), None)
        if "reasoning" in one:
            one.setdefault("reasoning_content", one["reasoning"])
        read.append(one)
    return read


def read_content(content: Any, place: str) -> str | list[Message]:
    """Returns the text of a message's content: a string, or a list of parts, whose texts are joined by line ends.

    Where pictures were taken out of it (`text.parts`), it stays a list of parts.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, Sequence):
        raise InvalidRequest(place, content, "a string or a list of parts")
    texts: list[str] = []
    parts: list[Message] = []
    for i, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if isinstance(part, str):
            texts.append(part)
        elif part in TAKEN:
            parts += [*({"type": "text", "text": text} for text in texts), dict(part)]
            texts = []
        elif kind in ("text", "input_text", "output_text", "refusal"):
            text = part.get("refusal" if kind == "refusal" else "text")
            if not isinstance(text, str):
                raise InvalidRequest(f"{place}[{i}].text", text, "a string")
            texts.append(text)
        elif kind is None:
            raise InvalidRequest(f"{place}[{i}]", part, 'a part like {"type": "text", "text": "Hello"}')
        else:
            raise NotSupported(f"{place}[{i}]: this model takes no {kind}", hint="send parts of type text")
    if parts:
        return [*parts, *({"type": "text", "text": text} for text in texts)]
    return "\n".join(texts)


def with_text_calls(messages: Sequence[Message]) -> list[Message]:
    """Returns the messages with calls as part of the content, for a template that has no place for them."""
    return [_as_text(message) if "tool_calls" in message else message for message in messages]


def with_json_arguments(messages: Sequence[Message]) -> list[Message]:
    """Returns the messages with the arguments of calls as JSON text, for a template that joins them to other text."""
    return [{**m, "tool_calls": [_as_json(call) for call in m["tool_calls"]]} if "tool_calls" in m else m for m in messages]


def _as_text(message: Message) -> Message:
    lines = [json.dumps(call["function"], ensure_ascii=False) for call in message["tool_calls"]]
    rest = {name: value for name, value in message.items() if name != "tool_calls"}
    return {**rest, "content": "\n".join([*([message["content"]] if message["content"] else []), *lines])}


def _as_json(call: Mapping[str, Any]) -> Message:
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}}


def _calls(calls: Any, place: str, num_before: int) -> list[Message]:
    if not calls:
        return []
    many = [calls] if isinstance(calls, Mapping) else calls
    if not isinstance(many, Sequence) or isinstance(many, str) or not all(isinstance(call, Mapping) for call in many):
        raise InvalidRequest(place, calls, "a list of calls")
    return [_call(call, f"{place}[{i}]", num_before + i) for i, call in enumerate(many)]


def _call(call: Mapping[str, Any], place: str, number: int) -> Message:
    inner = call.get("function")
    function = inner if isinstance(inner, Mapping) else call  # Ollama's calls have no type
    name, arguments = function.get("name"), function.get("arguments", function.get("parameters"))
    if not isinstance(name, str):
        raise InvalidRequest(place, call, 'a call like {"function": {"name": "f", "arguments": "{}"}}')
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            raise InvalidRequest(f"{place}.function.arguments", arguments, "the text of a JSON object") from None
    return {
        "id": str(call.get("id") or f"call{number:05}"),
        "type": "function",
        "function": {"name": name, "arguments": {} if arguments is None else arguments},
    }
