"""`ChoiceReader`: takes the growing result of one choice apart into reasoning, content and calls."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from workbench.native.results import Completion
from workbench.server.chat.events import (
    ChatEvent,
    ChoiceFinished,
    ReasoningDelta,
    TextDelta,
    TokenInfo,
    ToolArgumentsDelta,
    ToolCallStarted,
)
from workbench.server.chat.tools import ToolPlan
from workbench.tool_calls import ArgumentsPiece, CallStarted, Content, ToolCallParser, ToolEvent
from workbench.tool_calls.reasoning import ReasoningParser

Name = Callable[[int], tuple[str, bytes]]
"""The text and the bytes of a token."""


class ChoiceReader:
    """Reads one choice. Reasoning comes first, what follows it is searched for calls."""

    def __init__(
        self, choice: int, plan: ToolPlan, reasoning_parser: str | None, starts_inside: bool | None, name: Name | None
    ) -> None:
        self._choice = choice
        self._reasoning = None if reasoning_parser is None else ReasoningParser(reasoning_parser, starts_inside)
        self._tools = None if plan.parser is None else ToolCallParser(plan.parser, plan.names)
        self._name = name
        self._num_chars = 0
        self._num_tokens = 0
        self._num_logprobs = 0
        self.num_reasoning_tokens = 0

    def read(self, chunk: Completion) -> Iterator[ChatEvent]:
        """Yields the events that a result adds to those before it."""
        text, meta = chunk.get("text", ""), chunk["meta_info"]
        piece, self._num_chars = text[self._num_chars :], len(text)
        num_new, self._num_tokens = meta["completion_tokens"] - self._num_tokens, meta["completion_tokens"]
        tokens = () if self._name is None else self._new_tokens(dict(meta), self._name)
        events = [*self._parts(piece, num_new, is_end=False)]
        finish = meta["finish_reason"]
        if finish is not None:
            events += self._parts("", 0, is_end=True)
        if tokens:
            events = _with_tokens(events, self._choice, tokens)
        yield from events
        if finish is not None:
            yield ChoiceFinished(self._choice, self._reason(finish["type"]), finish.get("matched"))

    def _reason(self, kind: str) -> str:
        return "tool_calls" if kind == "stop" and self._tools is not None and self._tools.num_calls else kind

    def _parts(self, piece: str, num_new: int, is_end: bool) -> Iterator[ChatEvent]:
        rest = piece
        if self._reasoning is not None:
            thought, rest = self._reasoning.finish() if is_end else self._reasoning.push(piece)
            if thought:
                self.num_reasoning_tokens += num_new
                yield ReasoningDelta(self._choice, thought)
        if self._tools is None:
            if rest:
                yield TextDelta(self._choice, rest)
            return
        found = self._tools.push(rest) if rest else []
        for event in [*found, *(self._tools.finish() if is_end else ())]:
            yield self._event(event)

    def _event(self, event: ToolEvent) -> ChatEvent:
        match event:
            case Content(text):
                return TextDelta(self._choice, text)
            case CallStarted(index, name):
                return ToolCallStarted(self._choice, index, f"call_{uuid.uuid4().hex[:24]}", name)
            case ArgumentsPiece(index, text):
                return ToolArgumentsDelta(self._choice, index, text)

    def _new_tokens(self, meta: dict[str, Any], name: Name) -> tuple[TokenInfo, ...]:
        entries, tops = meta.get("output_token_logprobs", []), meta.get("output_top_logprobs") or []
        first, self._num_logprobs = self._num_logprobs, len(entries)
        return tuple(token_info(entries[i], tops[i] if i < len(tops) else None, name) for i in range(first, len(entries)))


def token_info(entry: list[Any], top: list[list[Any]] | None, name: Name) -> TokenInfo:
    """Returns a native log-probability, and the likeliest ones at its place, with texts and bytes."""
    likeliest = tuple((*name(token), float(logprob)) for logprob, token, _ in top or ())
    return TokenInfo(*name(entry[1]), float(entry[0]), likeliest)


def _with_tokens(events: list[ChatEvent], choice: int, tokens: tuple[TokenInfo, ...]) -> list[ChatEvent]:
    """Returns the events with the tokens on the first text, or on an empty text before them."""
    for i, event in enumerate(events):
        if isinstance(event, TextDelta):
            return [*events[:i], TextDelta(choice, event.text, tokens), *events[i + 1 :]]
    return [TextDelta(choice, "", tokens), *events]
