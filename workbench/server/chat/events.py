"""The events of a chat's answer, and the whole answer that they add up to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of a choice's content, and the tokens that came since the last one, in OpenAI's form of chat logprobs.

    The text is empty where tokens came that are not (or not yet) content.
    """

    choice: int
    text: str
    logprobs: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The next piece of a choice's reasoning."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """A choice calls a tool. Calls are numbered from 0."""

    choice: int
    call: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolArgumentsDelta:
    """The next piece of a call's arguments; joined, the pieces are the text of one JSON object."""

    choice: int
    call: int
    text: str


@dataclass(frozen=True, slots=True)
class ChoiceFinished:
    """The last event of a choice. `reason` is "stop", "length", "tool_calls" or "abort"."""

    choice: int
    reason: str
    matched: int | str | None = None
    """The stop string or token id that ended the text."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens so far, of all choices. The last event of an answer; before, it follows the events of each step."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int


ChatEvent = TextDelta | ReasoningDelta | ToolCallStarted | ToolArgumentsDelta | ChoiceFinished | Usage


@dataclass(slots=True)
class ToolCall:
    """A call of a tool. `arguments` is the text of a JSON object."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class ChoiceResult:
    """One whole answer."""

    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    finish_reason: str = ""
    matched: int | str | None = None
    logprobs: list[dict[str, Any]] | None = None


@dataclass(slots=True)
class ChatResult:
    """The whole answers to a call, and the tokens that they took."""

    choices: list[ChoiceResult]
    usage: Usage


async def collect_chat(events: AsyncIterator[ChatEvent]) -> ChatResult:
    """Returns the answers that the events add up to."""
    choices: dict[int, ChoiceResult] = {}
    usage = Usage(0, 0, 0, 0)
    async for event in events:
        if isinstance(event, Usage):
            usage = event
        else:
            _add(choices.setdefault(event.choice, ChoiceResult()), event)
    return ChatResult([choices[i] for i in sorted(choices)], usage)


def _add(choice: ChoiceResult, event: ChatEvent) -> None:
    match event:
        case TextDelta():
            choice.content += event.text
            if event.logprobs is not None:
                choice.logprobs = [*(choice.logprobs or ()), *event.logprobs]
        case ReasoningDelta():
            choice.reasoning += event.text
        case ToolCallStarted():
            choice.tool_calls.append(ToolCall(event.id, event.name))
        case ToolArgumentsDelta():
            choice.tool_calls[event.call].arguments += event.text
        case ChoiceFinished():
            choice.finish_reason, choice.matched = event.reason, event.matched
