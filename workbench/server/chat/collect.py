"""Adds the events of a call up to its whole result, so that streamed and whole answers have one path."""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass, field

from workbench.server.chat.call import Usage
from workbench.server.chat.events import (
    ChatEvent,
    ChoiceFinished,
    ReasoningDelta,
    TextDelta,
    TokenInfo,
    ToolArgumentsDelta,
    ToolCallStarted,
)


@dataclass
class ToolCall:
    """A call of a tool."""

    id: str
    name: str
    arguments: str = ""
    """Text of a JSON object."""


@dataclass
class ChatChoice:
    """One answer."""

    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    tokens: list[TokenInfo] = field(default_factory=list)
    finish_reason: str = ""
    matched: str | int | None = None

    def add(self, event: ChatEvent) -> None:
        """Adds an event of this choice."""
        match event:
            case TextDelta(_, text, tokens):
                self.content += text
                self.tokens += tokens
            case ReasoningDelta(_, text):
                self.reasoning += text
            case ToolCallStarted(_, _, id, name):
                self.tool_calls.append(ToolCall(id, name))
            case ToolArgumentsDelta(_, call, text):
                self.tool_calls[call].arguments += text
            case ChoiceFinished(_, reason, matched):
                self.finish_reason, self.matched = reason, matched


@dataclass
class ChatResult:
    """All answers of a call."""

    choices: list[ChatChoice]
    usage: Usage


async def collect_chat(events: AsyncIterable[ChatEvent], n: int, usage: Usage) -> ChatResult:
    """Returns the result of a call with `n` choices."""
    choices = [ChatChoice() for _ in range(n)]
    async for event in events:
        choices[event.choice].add(event)
    return ChatResult(choices, usage)
