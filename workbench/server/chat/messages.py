"""Makes a conversation of OpenAI's shape, or of the reference's looser one, into what chat templates expect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from workbench.errors import InvalidRequest, NotSupported

MEDIA = ("image_url", "input_image", "image", "video_url", "input_audio", "file")


def for_template(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the messages with text as content and arguments of calls as objects. Raises InvalidRequest, NotSupported."""
    if not isinstance(messages, (list, tuple)) or not messages:
        raise InvalidRequest("messages", messages, 'a list of objects like {"role": "user", "content": "Hello"}')
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _message(message: Mapping[str, Any], place: str) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise InvalidRequest(place, message, 'an object with "role" and "content"')
    made = {name: value for name, value in message.items() if value is not None}
    made["role"] = {"developer": "system"}.get(message["role"], message["role"])
    made["content"] = text_of_content(message.get("content"), f"{place}.content")
    calls = message.get("tool_calls")
    if calls:
        made["role"] = "assistant"  # the reference's examples give calls to the user
        made["tool_calls"] = [_call(call, f"{place}.tool_calls") for call in ([calls] if isinstance(calls, Mapping) else calls)]
    else:
        made.pop("tool_calls", None)
    return made


def text_of_content(content: Any, place: str) -> str:
    """Returns the text of a content: null, a string, or a list of parts. Raises NotSupported for other media."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise InvalidRequest(place, content, "a string or a list of parts")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in MEDIA:
            raise NotSupported(f"{place} has a part of type {kind}: this model reads text alone", hint="send parts of type text")
        text = part if isinstance(part, str) else part.get("text", part.get("refusal")) if isinstance(part, Mapping) else None
        if not isinstance(text, str):
            raise InvalidRequest(place, part, 'a part like {"type": "text", "text": "..."}')
        texts.append(text)
    return "\n".join(texts)


def _call(call: Any, place: str) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidRequest(place, call, 'a call like {"function": {"name": "f", "arguments": "{}"}}')
    arguments = function.get("arguments", function.get("parameters"))
    if isinstance(arguments, str):
        with suppress(ValueError):  # else a template writes the text as it is
            arguments = json.loads(arguments) if arguments.strip() else {}
    made = {"type": "function", "function": {"name": function["name"], "arguments": {} if arguments is None else arguments}}
    return made | ({"id": call["id"]} if call.get("id") else {})
