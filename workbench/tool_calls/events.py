"""The pieces into which a parser takes a model's text apart."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """Text outside of calls."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call begins; calls are numbered from 0 in the order of the text."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsPiece:
    """The next piece of a call's arguments; joined, the pieces are one JSON object."""

    index: int
    text: str


ToolEvent = Content | CallStarted | ArgumentsPiece
