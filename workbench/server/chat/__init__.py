"""Conversations, apart from any API's wire form: messages and tools in, events of text, reasoning and calls out."""

from __future__ import annotations

from workbench.server.chat.call import ChatCall, Usage
from workbench.server.chat.collect import ChatChoice, ChatResult, collect_chat
from workbench.server.chat.events import (
    ChatEvent,
    ChoiceFinished,
    ReasoningDelta,
    TextDelta,
    TokenInfo,
    ToolArgumentsDelta,
    ToolCallStarted,
)
from workbench.server.chat.run import ChatRun, start_chat

__all__ = [
    "ChatCall", "ChatChoice", "ChatEvent", "ChatResult", "ChatRun", "ChoiceFinished", "ReasoningDelta", "TextDelta", "TokenInfo",
    "ToolArgumentsDelta", "ToolCallStarted", "Usage", "collect_chat", "start_chat",
]  # fmt: skip
