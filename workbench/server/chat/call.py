"""`ChatCall`: a conversation to answer, whichever API it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """One call. Messages, tools, choices and formats have the shapes of OpenAI's chat completions."""

    messages: Sequence[Mapping[str, Any]]
    messages_field: str = "messages"
    """Name that the messages have in the body of the API, for errors about them."""
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    """"none", "auto", "required" or `{"type": "function", "function": {"name": ...}}`. None: "auto"."""
    parallel_tool_calls: bool = True
    """Switch to let the model make more than one call."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `SamplingParams`. Without `max_new_tokens` the answer may fill the context."""
    response_format: Mapping[str, Any] | None = None
    n: int = 1
    logprobs: bool = False
    top_logprobs: int = 0
    separate_reasoning: bool = True
    """Switch to part reasoning from the answer, where the server has a reasoning parser."""
    reasoning_budget: int | None = None
    """Most tokens of reasoning; needs a reasoning parser, `n` 1 and `max_new_tokens`."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Further variables of the chat template, such as `enable_thinking`."""
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    """Switch to continue the last message, one of the assistant, in the place of a new one."""
    rid: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of `PromptOptions`, such as `priority`."""
