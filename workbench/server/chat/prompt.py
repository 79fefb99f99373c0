"""Renders conversations with the model's chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2

from workbench.api.handle import Handle
from workbench.errors import InvalidRequest
from workbench.lang.tools import with_tools, wrapped
from workbench.server.chat.call import ChatCall
from workbench.server.chat.messages import Message, read_messages, with_json_arguments, with_text_calls
from workbench.text import chat
from workbench.text.parts import Media, fitted, has_media, take_media
from workbench.text.tokenizer import Tokenizer

RESERVED = frozenset(
    {"conversation", "messages", "tools", "chat_template", "tokenize", "add_generation_prompt", "continue_final_message",
     "padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"}
)  # fmt: skip
"""Names that `chat_template_kwargs` cannot set."""


def render_chat(handle: Handle, call: ChatCall, tools: Sequence[Any]) -> tuple[str, list[Media]]:
    """Returns the text of a conversation, and its pictures. Raises InvalidRequest, NotSupported for one that the template cannot
    write."""
    tokenizer = handle.tokenizer
    if taken := RESERVED & call.chat_template_kwargs.keys():
        name = min(taken)
        raise InvalidRequest.because("chat_template_kwargs", f"chat_template_kwargs cannot set {name!r}", hint="leave it out")
    source = chat.source_of(tokenizer.hf, tools)
    messages, media = take_media(call.messages) if handle.sees and has_media(call.messages) else (call.messages, [])
    messages = _fitted(read_messages(messages), source)
    if handle.sees:
        messages = fitted(messages, source, handle.eyes.marks)
    shown = [wrapped(tool) for tool in tools] or None
    if shown and "tools" not in source:
        messages, shown = with_tools(messages, shown), None
    is_open = call.continue_final_message
    if is_open and (not messages or messages[-1]["role"] != "assistant"):
        raise InvalidRequest("messages[-1] role", messages[-1]["role"] if messages else None, "assistant, to be continued")
    more = {**call.chat_template_kwargs, **({"continue_final_message": True} if is_open else {})}
    add = call.add_generation_prompt and not is_open
    return _render(tokenizer, messages, add_generation_prompt=add, tools=shown, **more), media


def _fitted(messages: list[Message], source: str) -> list[Message]:
    """Returns the messages without roles and calls that the template has no place for."""
    if "developer" not in source:
        messages = [{**m, "role": "system"} if m["role"] == "developer" else m for m in messages]
    return messages if "tool_calls" in source else with_text_calls(messages)


def _render(tokenizer: Tokenizer, messages: list[Message], **options: Any) -> str:
    try:
        return chat.render(tokenizer.hf, messages, **options)
    except (TypeError, InvalidRequest) as first:
        if not any("tool_calls" in message for message in messages):
            raise _refused(first) from None
    try:
        return chat.render(tokenizer.hf, with_json_arguments(messages), **options)
    except (TypeError, InvalidRequest) as error:
        raise _refused(error) from None


def _refused(error: Exception) -> InvalidRequest:
    if isinstance(error, InvalidRequest) and not isinstance(error.__cause__, jinja2.TemplateError):
        return error
    reason = error.__cause__ or error
    return InvalidRequest.because("messages", f"the chat template refuses the messages: {reason}", hint="change the messages")
