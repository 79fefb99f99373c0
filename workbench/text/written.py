"""Finds the text of each message in a rendered conversation; the template wrote the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from workbench.errors import WorkbenchError

Render = Callable[[Sequence[Mapping[str, Any]]], str]


@dataclass(frozen=True, slots=True)
class TextPart:
    """Characters `start` to `end` of the rendered text are (part of) the content of message number `message`."""

    start: int
    end: int
    message: int


@dataclass(frozen=True, slots=True)
class Written:
    """A rendered conversation and the places of its messages."""

    text: str
    stretches: tuple[TextPart, ...]
    """The places of the messages, in the order of the text and without overlap. The template wrote the rest."""

    @property
    def found(self) -> frozenset[int]:
        """The numbers of the messages that occur in the text."""
        return frozenset(stretch.message for stretch in self.stretches)


def written(render: Render, messages: Sequence[Mapping[str, Any]]) -> Written:
    """Renders the conversation and finds its messages in the text.

    A template may strip, move or drop the text of a message. So the conversation is rendered a second time with a mark in
    the place of each text; the template wrote what stands between the marks. If the two do not fit together, the texts are
    searched in order. Raises the errors of `render`.
    """
    text = render(messages)
    return Written(text, _between_marks(render, messages, text) or _in_order(messages, text))


def texts(message: Mapping[str, Any]) -> list[str]:
    """Returns the texts of a message: its content, or the text parts of it."""
    content = message.get("content")
    if isinstance(content, str):
        return [content] if content.strip() else []
    parts = content if isinstance(content, (list, tuple)) else []
    found = [part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
    return [part for part in found if part.strip()]


def _between_marks(render: Render, messages: Sequence[Mapping[str, Any]], text: str) -> tuple[TextPart, ...]:
    number = count()
    said: list[tuple[int, str]] = []

    def mark(i: int, value: str) -> str:
        if not value.strip():
            return value
        said.append((i, value))
        return f"\ue000{next(number)}\ue001"

    def marked(i: int, message: Mapping[str, Any]) -> dict[str, Any]:
        content = message.get("content")
        if isinstance(content, str):
            return {**message, "content": mark(i, content)}
        if isinstance(content, (list, tuple)):
            parts = [
                {**part, "text": mark(i, part["text"])}
                if isinstance(part, Mapping) and isinstance(part.get("text"), str)
                else part
                for part in content
            ]
            return {**message, "content": parts}
        return dict(message)

    try:
        pieces = render([marked(i, message) for i, message in enumerate(messages)]).split("\ue000")
    except WorkbenchError:  # the template inspects the content
        return ()
    stretches: list[TextPart] = []
    at = len(pieces[0])
    if not text.startswith(pieces[0]):
        return ()
    for piece in pieces[1:]:
        which, _, literal = piece.partition("\ue001")
        if not which.isdigit() or int(which) >= len(said):
            return ()
        message, value = said[int(which)]
        forms = (value, value.strip(), value.lstrip(), value.rstrip())
        form = next((form for form in forms if text.startswith(form + literal, at)), None)
        if form is None:
            return ()
        stretches.append(TextPart(at, at + len(form), message))
        at += len(form) + len(literal)
    return tuple(stretches) if at == len(text) else ()


def _in_order(messages: Sequence[Mapping[str, Any]], text: str) -> tuple[TextPart, ...]:
    stretches: list[TextPart] = []
    at = 0
    for i, message in enumerate(messages):
        for value in map(str.strip, texts(message)):
            start = text.find(value, at)
            if start >= 0:
                at = start + len(value)
                stretches.append(TextPart(start, at, i))
    return tuple(stretches)
