"""`ChatCall`: a question to a conversation model, with every check that needs no model done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ChatCall:
    """A conversation to answer. Messages, tools and `tool_choice` have the shapes of OpenAI's chat API."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    """none, auto, required, or the object that names one function."""
    parallel_tool_calls: bool = True
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters by the names of `SamplingParams`; a missing `max_new_tokens` is the room of the context."""
    n: int = 1
    logprobs: bool = False
    top_logprobs: int = 0
    separate_reasoning: bool = True
    template_args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the chat template, such as enable_thinking."""
    continue_final_message: bool = False
    """Switch to continue the last message, of the assistant, instead of beginning a new one."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the request by the names of `PromptOptions`: rid, priority, timeout_s, namespace."""


@dataclass
class Usage:
    """The tokens of a call so far."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
