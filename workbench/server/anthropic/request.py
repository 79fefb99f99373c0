"""The body of `/v1/messages`, and the call that it makes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, WithJsonSchema

from workbench.checks import as_int
from workbench.errors import InvalidRequest, NotSupported
from workbench.server.body import Body
from workbench.server.chat import ChatCall
from workbench.server.schema import needs, whole
from workbench.server.shapes import (
    FREE_ANTHROPIC_CHOICE,
    SOME_TOOLS,
    AnthropicChoice,
    AnthropicMessages,
    AnthropicTools,
    Positive,
    StopList,
    SystemText,
    Temperature,
    Thinking,
    TopK,
    TopP,
)


class CountBody(Body):
    """The body of `/v1/messages/count_tokens`."""

    NEEDS = needs("tool_choice", FREE_ANTHROPIC_CHOICE, tools=SOME_TOOLS)

    model: str | None = None
    """Name of a model; whatever it is, the served one answers."""
    messages: AnthropicMessages
    """Conversation: texts, pictures, calls of tools and their results."""
    max_tokens: Positive = None
    """Most output tokens, at least 1. An answer needs it, a count does not."""
    system: SystemText = None
    """Text of the system message, or blocks of text."""
    temperature: Temperature = None
    top_p: TopP = None
    top_k: TopK = None
    stop_sequences: StopList = None
    """Strings that end the text. The text ends before them."""
    stream: bool | None = False
    """Switch to send the answer as it grows, in server-sent events."""
    tools: AnthropicTools = None
    """Functions that the model may call."""
    tool_choice: AnthropicChoice = None
    """Choice of the type `auto`, `any` (some tool), `tool` (the one named) or `none`."""
    thinking: Thinking = None
    """Switch of the reasoning, of the type `enabled`, `adaptive` or `disabled`; `budget_tokens` is the most tokens of it. Needs
    `--reasoning-parser`."""

    def call(self, needs_limit: bool = True, can_reason: bool = True) -> ChatCall:
        """Returns the call. Raises InvalidRequest, NotSupported with the place of what it cannot read.

        `can_reason` is true where the server parts reasoning from answers.
        """
        if needs_limit and self.max_tokens is None:
            raise InvalidRequest.because("max_tokens", "max_tokens is not given", hint="give the most output tokens")
        if needs_limit and self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidRequest("max_tokens", self.max_tokens, "at least 1")
        choice = self.tool_choice or {"type": "auto"}
        is_single = choice.get("disable_parallel_tool_use") or choice.get("type") == "tool"
        sampling = {"max_new_tokens": self.max_tokens, "temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}
        thinking = self.thinking
        is_thinking = thinking is not None and self._is_thinking(thinking, can_reason)
        kwargs = {} if thinking is None else {"enable_thinking": is_thinking}
        budget = thinking.get("budget_tokens") if thinking is not None and is_thinking else None
        budget = None if budget is None else int(budget)
        return ChatCall(
            messages=list(self._conversation()), tools=[_tool(tool, i) for i, tool in enumerate(self.tools or ())],
            tool_choice=_choice(choice), parallel_tool_calls=not is_single,
            sampling={**sampling, "stop": self.stop_sequences or None}, chat_template_kwargs=kwargs, reasoning_budget=budget,
        )  # fmt: skip

    def _is_thinking(self, thinking: Mapping[str, Any], can_reason: bool) -> bool:
        kind, budget = thinking.get("type"), thinking.get("budget_tokens")
        if kind not in ("enabled", "adaptive", "disabled"):
            raise InvalidRequest("thinking.type", kind, "enabled, adaptive or disabled")
        if kind == "disabled":
            return False
        if not can_reason:
            raise NotSupported("thinking: the server reads no reasoning of this model", hint="serve with --reasoning-parser")
        if budget is not None and (budget := as_int("thinking.budget_tokens", budget)) < 1:
            raise InvalidRequest("thinking.budget_tokens", budget, "at least 1")
        if budget is not None and self.max_tokens is not None and budget >= self.max_tokens:
            raise InvalidRequest("thinking.budget_tokens", budget, f"below max_tokens ({self.max_tokens})")
        return True

    def _conversation(self) -> Iterator[dict[str, Any]]:
        if self.system:
            yield {"role": "system", "content": _text(self.system, "system")}
        for i, message in enumerate(self.messages):
            yield from _messages(message, f"messages[{i}]")


class MessagesBody(CountBody):
    """The body of `/v1/messages`."""

    model_config = ConfigDict(json_schema_extra={"required": ["messages", "max_tokens"]})

    max_tokens: Annotated[int | None, WithJsonSchema(whole(1))] = None
    """Most output tokens, at least 1."""


def _messages(message: Mapping[str, Any], place: str) -> Iterator[dict[str, Any]]:
    """Yields one message of the user or of the assistant as messages of OpenAI's shape: results of tools are their own."""
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise InvalidRequest(f"{place}.role", role, "user or assistant")
    if content is None or isinstance(content, str):
        yield {"role": role, "content": content or ""}
        return
    if not isinstance(content, list):
        raise InvalidRequest(f"{place}.content", content, "a string or a list of blocks")
    texts: list[str] = []
    pictures: list[dict[str, Any]] = []
    """Texts and pictures in order, up to the last picture."""
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for j, block in enumerate(content):
        kind = block.get("type") if isinstance(block, Mapping) else None
        where = f"{place}.content[{j}]"
        if kind == "text":
            texts.append(_text(block.get("text"), where))
        elif kind == "thinking":
            thoughts.append(_text(block.get("thinking"), where))
        elif kind == "redacted_thinking":
            continue
        elif kind == "tool_use":
            function = {"name": block.get("name"), "arguments": json.dumps(block.get("input") or {})}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "tool_result":
            text = _text(block.get("content") or "", where)
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text}
        elif kind == "image":
            pictures += [*({"type": "text", "text": text} for text in texts), _picture(block.get("source"), where)]
            texts = []
        elif kind == "document":
            raise NotSupported(f"{where}: this server reads no {kind}", hint="send blocks of type text or image")
        else:
            raise InvalidRequest(where, block, "a block of type text, image, tool_use, tool_result or thinking")
    if texts or calls or thoughts or pictures:
        more = {"reasoning_content": "\n".join(thoughts)} if thoughts else {}
        parts = [*pictures, *({"type": "text", "text": text} for text in texts)] if pictures else "\n".join(texts)
        yield {"role": role, "content": parts, **({"tool_calls": calls} if calls else {}), **more}


def _picture(source: Any, place: str) -> dict[str, Any]:
    """Returns an image's source, base64 data or a URL, as a part of OpenAI's shape."""
    kind = source.get("type") if isinstance(source, Mapping) else None
    if kind == "base64" and isinstance(source.get("data"), str):
        url = f"data:{source.get('media_type', 'image/png')};base64,{source['data']}"
    elif kind == "url" and isinstance(source.get("url"), str):
        url = source["url"]
    else:
        raise InvalidRequest(f"{place}.source", source, "a source of type base64 with data, or of type url")
    return {"type": "image_url", "image_url": {"url": url}}


def _text(content: Any, place: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        texts = [part.get("text") for part in content]
        if all(isinstance(text, str) for text in texts):
            return "\n".join(str(text) for text in texts)
        raise NotSupported(f"{place}: this model takes text alone", hint="send blocks of type text")
    raise InvalidRequest(place, content, "a string or a list of blocks")


def _tool(tool: Mapping[str, Any], i: int) -> dict[str, Any]:
    if not isinstance(tool.get("name"), str):
        raise InvalidRequest(f"tools[{i}].name", tool.get("name"), "a string")
    if "input_schema" not in tool:
        kind = tool.get("type", "a tool without input_schema")
        raise NotSupported(f"tools[{i}]: {kind} cannot be run here", hint="give a tool with its input_schema")
    function = {"name": tool["name"], "description": tool.get("description") or "", "parameters": tool["input_schema"]}
    return {"type": "function", "function": function | ({"strict": True} if tool.get("strict") else {})}


def _choice(choice: Mapping[str, Any]) -> str | dict[str, Any]:
    kind = choice.get("type")
    if kind == "tool":
        return {"type": "function", "function": {"name": choice.get("name")}}
    words = {"auto": "auto", "any": "required", "none": "none"}
    if not isinstance(kind, str) or kind not in words:
        raise InvalidRequest("tool_choice.type", kind, "auto, any, tool or none")
    return words[kind]
