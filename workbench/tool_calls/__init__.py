"""Finds calls of tools in a model's text, whole or while it streams."""

from __future__ import annotations

from workbench.tool_calls.events import ArgumentsPiece, CallStarted, Content, ToolEvent
from workbench.tool_calls.formats import FORMATS, Format
from workbench.tool_calls.parser import ParsedCall, ToolCallParser, collect, parse

__all__ = [
    "FORMATS", "ArgumentsPiece", "CallStarted", "Content", "Format", "ParsedCall", "ToolCallParser", "ToolEvent", "collect",
    "parse",
]  # fmt: skip
