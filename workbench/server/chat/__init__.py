"""The core of all chat APIs: a call in OpenAI's shapes becomes events, which each API writes in its own form."""

from __future__ import annotations

from workbench.server.chat.call import ChatCall
from workbench.server.chat.events import (
    ChatEvent,
    ChatResult,
    ChoiceFinished,
    ChoiceResult,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCall,
    ToolCallStarted,
    Usage,
    collect_chat,
)  # fmt: skip
from workbench.server.chat.start import start_chat

__all__ = [
    "ChatCall", "ChatEvent", "ChatResult", "ChoiceFinished", "ChoiceResult", "ReasoningDelta", "TextDelta", "ToolArgumentsDelta",
    "ToolCall", "ToolCallStarted", "Usage", "collect_chat", "start_chat",
]  # fmt: skip
