"""`Choice`: takes the outputs of one request apart into the events of one answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from workbench.server.chat.events import (
    ChatEvent,
    ChoiceFinished,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
)  # fmt: skip
from workbench.tool_calls import ArgumentsPiece, CallStarted, Content, ToolCallParser, ToolEvent
from workbench.tool_calls.reasoning import ReasoningParser
from workbench.types import TokenLogprob, TokenOut

Score = Callable[[TokenLogprob], dict[str, Any]]


class Choice:
    """One answer: its text passes the reasoning parser, then the parser of calls."""

    def __init__(
        self, index: int, reasoning: ReasoningParser | None, tools: ToolCallParser | None, score: Score | None, *,
        one_call: bool = False, only_calls: bool = False,
    ) -> None:  # fmt: skip
        """Starts an answer. `score` writes the log-probability of a token; None if they are not wanted.

        `one_call`: later calls are left out. `only_calls`: so is all other text, such as a call that is cut off.
        """
        self.num_tokens = self.num_cached = self.num_reasoning = 0
        self._index = index
        self._reasoning = reasoning
        self._tools = tools
        self._score = score
        self._one_call = one_call
        self._only_calls = only_calls
        self._num_calls = 0

    def push(self, out: TokenOut) -> Iterator[ChatEvent]:
        """Yields the events of one step's output."""
        self.num_tokens += len(out.token_ids)
        self.num_cached = out.num_cached
        reasoning, text = self._parted(out)
        if reasoning:
            yield ReasoningDelta(self._index, reasoning)
        entries = self._entries(out)
        for event in self._read(text, out.finish is not None):
            if isinstance(event, TextDelta) and entries:
                event, entries = TextDelta(self._index, event.text, entries), None
            yield event
        if entries:
            yield TextDelta(self._index, "", entries)
        if out.finish is not None:
            reason = "tool_calls" if self._num_calls and out.finish.type == "stop" else out.finish.type
            yield ChoiceFinished(self._index, reason, out.finish.matched)

    def _parted(self, out: TokenOut) -> tuple[str, str]:
        """Returns the reasoning and the rest that this output makes final."""
        parser = self._reasoning
        if parser is None:
            return "", out.text
        reasoning, text = parser.push(out.text)
        if out.finish is not None:
            last = parser.finish()
            reasoning, text = reasoning + last[0], text + last[1]
        if parser.is_inside or reasoning:
            self.num_reasoning += len(out.token_ids)
        return reasoning, text

    def _read(self, text: str, is_end: bool) -> Iterator[ChatEvent]:
        if self._tools is None:
            if text:
                yield TextDelta(self._index, text)
            return
        events = self._tools.push(text)
        if is_end:
            events += self._tools.finish()
        for event in events:
            if (shown := self._shown(event)) is not None:
                yield shown

    def _shown(self, event: ToolEvent) -> ChatEvent | None:
        match event:
            case Content() if not self._only_calls:
                return TextDelta(self._index, event.text)
            case CallStarted() if not (self._one_call and event.index):
                self._num_calls += 1
                return ToolCallStarted(self._index, event.index, f"call_{uuid.uuid4().hex[:24]}", event.name)
            case ArgumentsPiece() if not (self._one_call and event.index):
                return ToolArgumentsDelta(self._index, event.index, event.text)
        return None

    def _entries(self, out: TokenOut) -> list[dict[str, Any]] | None:
        """Returns the log-probabilities of the tokens, without that of a token that ended the text."""
        if self._score is None:
            return None
        tokens = out.logprobs
        if out.finish is not None and isinstance(out.finish.matched, int):
            tokens = tokens[:-1]
        return [self._score(token) for token in tokens]
