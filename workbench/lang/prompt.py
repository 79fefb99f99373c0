"""`Prompt`: the text, roles and media before a generation, as one frozen value that any backend can translate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.lang.nodes import Image, Role, RoleBegin, RoleEnd, Text, Video
from workbench.lang.tools import tools_text

Part = Text | Image | Video | RoleBegin | RoleEnd
Content = Text | Image | Video


@dataclass(frozen=True)
class Turn:
    """One message, or (role None) the text and media between two messages."""

    role: Role | None
    parts: tuple[Content, ...]
    is_open: bool = False
    """True if the role has begun and not ended: the model's output continues this message."""

    @property
    def text(self) -> str:
        return "".join(part.value for part in self.parts if isinstance(part, Text))

    def marked(self, marks: Mapping[str, str]) -> str:
        """Returns the text with a mark in the place of each picture, by its kind."""
        return "".join(part.value if isinstance(part, Text) else marks.get(_kind(part), "") for part in self.parts)

    @property
    def has_media(self) -> bool:
        return any(not isinstance(part, Text) for part in self.parts)

    @property
    def content(self) -> str | list[dict[str, Any]]:
        """Text of the message; if it has media, a list of parts in OpenAI's form."""
        if not self.has_media:
            return self.text
        return [_content_part(part) for part in self.parts]


@dataclass(frozen=True)
class Prompt:
    """The parts in order. Generated text is `Text` too. Roles never nest, and at most the last one is open."""

    parts: tuple[Part, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Messages, and text between them. Neighbouring texts are one part; no turn outside roles is empty."""
        turns: list[Turn] = []
        role: Role | None = None
        parts: list[Content] = []
        for part in self.parts:
            if isinstance(part, RoleBegin | RoleEnd):
                if role is not None or parts:
                    turns.append(Turn(role, _merged(parts)))
                role, parts = part.role if isinstance(part, RoleBegin) else None, []
            else:
                parts.append(part)
        if role is not None or parts:
            turns.append(Turn(role, _merged(parts), is_open=role is not None))
        return tuple(turns)

    @property
    def has_roles(self) -> bool:
        """True if the prompt is a conversation, False if it is plain text to continue."""
        return any(isinstance(part, RoleBegin) for part in self.parts)

    @property
    def open_role(self) -> Role | None:
        """Role in which the model writes next; None outside roles."""
        for part in reversed(self.parts):
            if isinstance(part, RoleBegin | RoleEnd):
                return part.role if isinstance(part, RoleBegin) else None
        return None

    @property
    def media(self) -> tuple[Image | Video, ...]:
        return tuple(part for part in self.parts if isinstance(part, Image | Video))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Messages as `[{"role": ..., "content": ...}, ...]`, with the open one; text outside roles is left out."""
        return [{"role": turn.role, "content": turn.content} for turn in self.turns if turn.role is not None]

    def marked_text(self, marks: Mapping[str, str]) -> str:
        """Returns the text of a prompt without roles, with marks in the place of pictures."""
        tools = f"{tools_text(self.tools)}\n\n" if self.tools else ""
        return tools + "".join(turn.marked(marks) for turn in self.turns)

    @property
    def plain_text(self) -> str:
        """Text for display if no template is known: the tools, then the text, with `role: text` for each message."""
        tools = f"{tools_text(self.tools)}\n\n" if self.tools else ""
        if not self.has_roles:
            return tools + "".join(turn.text for turn in self.turns)
        return tools + "\n".join(turn.text if turn.role is None else f"{turn.role}: {turn.text}" for turn in self.turns)


def _kind(part: Image | Video) -> str:
    return "image" if isinstance(part, Image) else "video"


def _merged(parts: list[Content]) -> tuple[Content, ...]:
    merged: list[Content] = []
    for part in parts:
        if isinstance(part, Text) and merged and isinstance(merged[-1], Text):
            merged[-1] = Text(merged[-1].value + part.value)
        else:
            merged.append(part)
    return tuple(merged)


def _content_part(part: Content) -> dict[str, Any]:
    match part:
        case Text(value):
            return {"type": "text", "text": value}
        case Image(source):
            return {"type": "image_url", "image_url": {"url": source}}
        case Video(source):
            return {"type": "video_url", "video_url": {"url": source}}
