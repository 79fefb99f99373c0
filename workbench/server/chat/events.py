"""The events of a conversation's answer, in the order in which they become final."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """An output token with its log-probability and the likeliest tokens at its place."""

    token: str
    raw: bytes
    """The bytes of the token, which may be a part of a character."""
    logprob: float
    top: tuple[tuple[str, bytes, float], ...] = ()
    """(text, bytes, log-probability) of each, the likeliest first."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of a choice's content."""

    choice: int
    text: str
    tokens: tuple[TokenInfo, ...] = ()
    """With `logprobs`: the tokens that came since the last event of the choice, also those of calls and reasoning."""


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The next piece of a choice's reasoning."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """A call begins. Calls of a choice are numbered from 0."""

    choice: int
    call: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolArgumentsDelta:
    """The next piece of a call's arguments; joined, the pieces are one JSON object."""

    choice: int
    call: int
    text: str


@dataclass(frozen=True, slots=True)
class ChoiceFinished:
    """The end of a choice; it has one."""

    choice: int
    reason: str
    """stop, length, tool_calls or abort."""
    matched: str | int | None = None
    """The stop string or the stop token that ended the text."""


ChatEvent = TextDelta | ReasoningDelta | ToolCallStarted | ToolArgumentsDelta | ChoiceFinished
