"""What stands before a generation: text, role marks and media, as one frozen value that any backend can translate."""

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
    """One message, or (role None) a stretch outside any role."""

    role: Role | None
    parts: tuple[Content, ...]
    is_open: bool = False
    """The role has begun and not ended: what the model writes now continues this message."""

    @property
    def text(self) -> str:
        return "".join(part.value for part in self.parts if isinstance(part, Text))

    @property
    def has_media(self) -> bool:
        return any(not isinstance(part, Text) for part in self.parts)

    @property
    def content(self) -> str | list[dict[str, Any]]:
        """Text, or with media a list of parts in OpenAI's form."""
        if not self.has_media:
            return self.text
        return [_content_part(part) for part in self.parts]


@dataclass(frozen=True)
class Prompt:
    """The parts in order. Generated text is `Text` like any other. Roles never nest, at most the last one is open."""

    parts: tuple[Part, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The same as messages; neighbouring text is one part, and no stretch outside roles is empty."""
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
        """Whether this is a conversation; without any role it is plain text to continue."""
        return any(isinstance(part, RoleBegin) for part in self.parts)

    @property
    def open_role(self) -> Role | None:
        """The role in which the model is about to write."""
        for part in reversed(self.parts):
            if isinstance(part, RoleBegin | RoleEnd):
                return part.role if isinstance(part, RoleBegin) else None
        return None

    @property
    def media(self) -> tuple[Image | Video, ...]:
        return tuple(part for part in self.parts if isinstance(part, Image | Video))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """`[{"role": ..., "content": ...}, ...]`, the open message included; stretches outside roles are left out."""
        return [{"role": turn.role, "content": turn.content} for turn in self.turns if turn.role is not None]

    @property
    def plain_text(self) -> str:
        """For people, where no template is known: the text, behind what tells of the tools; `role: text` for each message."""
        told = f"{tools_text(self.tools)}\n\n" if self.tools else ""
        if not self.has_roles:
            return told + "".join(turn.text for turn in self.turns)
        return told + "\n".join(turn.text if turn.role is None else f"{turn.role}: {turn.text}" for turn in self.turns)


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
