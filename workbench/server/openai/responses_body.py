"""The body of `/v1/responses`, and the call that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.server.body import Body
from workbench.server.chat import ChatCall
from workbench.server.openai.bodies import OPTIONS, SAMPLING
from workbench.server.openai.responses_shapes import INCLUDED, LOGPROBS, Choice, Include, Input, Reasoning, Text, Tools
from workbench.server.problem import Problem
from workbench.server.schema import needs
from workbench.server.shapes import FREE_CHOICE, SOME_TOOLS, Positive, Scored, Temperature, TopP

REFUSED: dict[str, tuple[Any, ...]] = {
    "background": (None, False), "conversation": (None,), "prompt": (None,), "truncation": (None, "disabled"),
    "max_tool_calls": (None,), "context_management": (None, []),
}  # fmt: skip
"""Known fields that have no effect here, with their neutral values."""
MAX_TOP_LOGPROBS = 20


class ResponsesBody(Body):
    """The body of `/v1/responses`."""

    ANY_OF = ("input", "previous_response_id")
    NEEDS = needs("tool_choice", FREE_CHOICE, tools=SOME_TOOLS)

    model: str | None = None
    """Name of a model; whatever it is, the served one answers."""
    input: Input = []
    """A text of the user, or the items of a conversation. A part of type input_image has its picture in `image_url`."""
    instructions: str | None = None
    """Text of the system message."""
    previous_response_id: str | None = None
    """Id of a stored answer whose conversation goes on."""
    tools: Tools = None
    """Functions that the model may call."""
    tool_choice: Choice = None
    """Choice: `auto`, `none`, `required`, one function, or some of the tools."""
    parallel_tool_calls: bool | None = None
    """Switch to let the model make more than one call; true if left out."""
    text: Text = None
    """Object whose `format` is the form of the answer: `text`, `json_object` or `json_schema`."""
    reasoning: Reasoning = None
    """Object whose `effort` is the variable `reasoning_effort` of the chat template."""
    max_output_tokens: Positive = None
    """Most output tokens, at least 1. None: up to the end of the context."""
    temperature: Temperature = None
    top_p: TopP = None
    top_logprobs: Scored = None
    """Number of likeliest tokens to score beside each token, 0 to 20."""
    include: Include = None
    """Parts to add to the answer: `message.output_text.logprobs`; others that the API has are accepted and empty."""
    store: bool | None = None
    """Switch to keep the answer, so that others can continue it; true if left out."""
    stream: bool | None = None
    """Switch to send the answer as it grows, in server-sent events."""
    metadata: dict[str, str] | None = None
    """Notes of the client, returned as they are."""
    user: str | None = None
    """Name of the user, returned as it is."""

    @property
    def has_logprobs(self) -> bool:
        return LOGPROBS in (self.include or ()) or bool(self.top_logprobs)

    def items(self) -> list[dict[str, Any]]:
        """Returns the input as items."""
        if isinstance(self.input, str):
            return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": self.input}]}]
        return self.input

    def call(self, messages: Sequence[Mapping[str, Any]], rid: str) -> ChatCall:
        """Returns the call that continues `messages`. Raises what `check` raises."""
        self.check()
        system = [{"role": "system", "content": self.instructions}] if self.instructions else []
        effort = (self.reasoning or {}).get("effort")
        sampling = {name: value for name in SAMPLING if (value := getattr(self, name, None)) is not None}
        return ChatCall(
            messages=[*system, *messages],
            messages_field="input",
            tools=[_tool(tool, f"tools[{i}]") for i, tool in enumerate(self.tools or ())],
            tool_choice=_choice(self.tool_choice),
            parallel_tool_calls=self.parallel_tool_calls is not False,
            sampling={**sampling, "max_new_tokens": self.max_output_tokens},
            response_format=_format(self.text),
            logprobs=self.has_logprobs,
            top_logprobs=self.top_logprobs or 0,
            chat_template_kwargs={} if effort is None else {"reasoning_effort": effort},
            rid=rid,
            options={name: value for name in OPTIONS if (value := getattr(self, name, None)) is not None},
        )

    def check(self) -> None:
        """Raises NotSupported, InvalidRequest or Problem for what is known and not supported, and for values out of range."""
        for name, neutral in REFUSED.items():
            if (self.model_extra or {}).get(name) not in neutral:
                raise NotSupported(f"{name} is not supported", hint="leave it out")
        if self.max_output_tokens is not None and self.max_output_tokens < 1:
            raise InvalidRequest("max_output_tokens", self.max_output_tokens, "at least 1")
        if self.top_logprobs is not None and not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise InvalidRequest("top_logprobs", self.top_logprobs, f"between 0 and {MAX_TOP_LOGPROBS}")
        if unknown := [name for name in self.include or () if name not in INCLUDED]:
            raise InvalidRequest("include", unknown[0], " or ".join(INCLUDED))
        if (self.text or {}).get("verbosity") not in (None, "medium"):
            raise NotSupported("text.verbosity is not supported", hint="leave it out")
        if (self.reasoning or {}).get("summary") not in (None, "auto"):
            raise NotSupported(
                "reasoning is not summarised here", hint="leave out reasoning.summary: the reasoning itself is shown"
            )
        if not self.input and self.previous_response_id is None:
            raise Problem(400, "input is empty: give a text or items", "input", "invalid_value")


def _format(text: Mapping[str, Any] | None) -> dict[str, Any] | None:
    form = (text or {}).get("format")
    if form is None:
        return None
    if not isinstance(form, dict) or form.get("type") not in ("text", "json_object", "json_schema"):
        raise InvalidRequest("text.format", form, 'a format of the type "text", "json_object" or "json_schema"')
    if form["type"] == "json_schema" and not isinstance(form.get("schema"), (Mapping, bool)):
        raise InvalidRequest("text.format.schema", form.get("schema"), "a JSON schema")
    return form


def _tool(tool: Mapping[str, Any], place: str) -> dict[str, Any]:
    kind = tool.get("type")
    if kind != "function":
        raise NotSupported(f"{place}: tools of the type {kind!r} cannot be run here", hint='give tools of the type "function"')
    if not isinstance(tool.get("name"), str):
        raise InvalidRequest(f"{place}.name", tool.get("name"), "a string")
    names = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {name: tool[name] for name in names if tool.get(name) is not None}}


def _choice(choice: str | Mapping[str, Any] | None) -> str | dict[str, Any] | None:
    if choice is None or isinstance(choice, str):
        return choice
    match choice.get("type"):
        case "function":
            return {"type": "function", "function": {"name": choice.get("name")}}
        case "allowed_tools":
            tools = choice.get("tools")
            if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
                raise InvalidRequest("tool_choice.tools", tools, "a list of tools")
            named = [_tool(tool, f"tool_choice.tools[{i}]") for i, tool in enumerate(tools)]
            return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode", "auto"), "tools": named}}
    raise NotSupported(f"tool_choice of the type {choice.get('type')!r} is not supported", hint="choose a function")
