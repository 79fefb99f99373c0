"""A conversation as the model reads it: cut into tokens, each of one message or of the template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import structs

from workbench.native.media import media_options, read_shown
from workbench.text import chat
from workbench.text.parts import Media, fitted, num_media, take_media
from workbench.text.tokenizer import Tokenizer
from workbench.text.written import texts, written
from workbench.types import Picture
from workbench.views.seen import SeenPicture

if TYPE_CHECKING:
    from workbench.pictures.eyes import Eyes

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class PromptToken:
    id: int
    text: str
    """Text that it adds; a token that completes no character adds none."""
    message: int | None
    """Number of its message; None for what the template wrote."""
    picture: int | None = None
    """Number of its picture in the turn. Of a picture's tokens the first has text, which names it, and the others have none."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One conversation, written by the template and cut into tokens."""

    roles: tuple[str, ...]
    """Roles of the messages, in order."""
    tokens: tuple[PromptToken, ...]
    missing: tuple[int, ...] = ()
    """Messages whose text the template changed or dropped."""
    pictures: tuple[Picture, ...] = ()
    """Pictures of the messages, without their arrays."""

    @property
    def keys(self) -> tuple[int | str, ...]:
        """Token ids, and in the places of a picture its digest: those with which two turns begin alike are shared."""
        keys: list[int | str] = [token.id for token in self.tokens]
        for picture in self.pictures:
            for first, count in picture.places:
                keys[first : first + count] = [picture.digest] * count
        return tuple(keys)

    @classmethod
    def of(
        cls,
        roles: Sequence[str],
        text: str,
        stretches: Iterable[tuple[int, int, int]],
        ids: Sequence[int],
        ends: Sequence[int],
        missing: Iterable[int] = (),
        pictures: Sequence[Picture] = (),
        owners: Sequence[int] = (),
    ) -> Turn:
        """Returns the turn of a text. `stretches` are (start, end, message) in its characters, `ends` the ends of its tokens.

        A token belongs to the message that holds its first character that is no space. Text between two tokens goes to the
        second, since tokenizers leave spaces out of their offsets. The tokens of a picture, and marks between them, belong to
        its message, one of `owners`.
        """
        owner: list[int | None] = [None] * len(text)
        for start, end, message in stretches:
            owner[start:end] = [message] * (end - start)
        tokens, at = [], 0
        for i, (token, end) in enumerate(zip(ids, ends, strict=True)):
            end = len(text) if i == len(ids) - 1 else max(at, end)
            piece = text[at:end]
            first = at + len(piece) - len(piece.lstrip()) if piece.strip() else at
            tokens.append(PromptToken(token, piece, owner[first] if first < len(text) else None))
            at = end
        for number, (picture, message) in enumerate(zip(pictures, owners, strict=True)):
            words = f"[{SeenPicture.of(picture).words}]"
            for i in range(picture.start, picture.end):
                tokens[i] = PromptToken(tokens[i].id, words if i == picture.start else "", message, number)
        return cls(tuple(roles), tuple(tokens), tuple(missing), tuple(pictures))

    def role(self, token: PromptToken) -> str:
        """Returns the role that wrote a token; "" for the template."""
        return "" if token.message is None else self.roles[token.message]

    def place(self, index: int) -> str:
        """Describes where token number `index` stands."""
        message = self.tokens[index].message
        if message is not None:
            return f"message {message} ({self.roles[message]})"
        before = next((token.message for token in reversed(self.tokens[:index]) if token.message is not None), None)
        return "what the template writes " + ("first" if before is None else f"after message {before} ({self.roles[before]})")


def turn_of(hf: Any, messages: Messages, tools: Sequence[Any] | None, eyes: Eyes | None = None) -> Turn:
    """Returns a conversation as it would be sent. One that ends with an answer gets no prompt for a further one.

    `hf` is the Hugging Face tokenizer. Without `eyes` pictures are what the template writes for them. Raises what the model's
    template raises for these messages, and what reading their pictures raises.
    """
    media: list[Media] = []
    owners: list[int] = []
    if eyes is not None:
        read, media = take_media(messages)
        owners = [i for i, message in enumerate(read) for _ in range(num_media(message))]
        messages = fitted(read, chat.source_of(hf, tools), eyes.marks)
    render = partial(chat.render, hf, tools=tools, add_generation_prompt=messages[-1].get("role") != "assistant")
    found = written(render, messages)
    missing = [i for i, message in enumerate(messages) if texts(message) and i not in found.found]
    stretches = [(stretch.start, stretch.end, stretch.message) for stretch in found.stretches]
    roles = [str(message.get("role")) for message in messages]
    if eyes is None:
        ids, ends = Tokenizer(hf).places(found.text)
        return Turn.of(roles, found.text, stretches, ids, ends, missing)
    (shown,) = read_shown(**media_options(media), count=1, is_one=True) if media else ((),)
    spelled, seen, ends = eyes.places(found.text, shown, Tokenizer(hf).places, is_local=True)
    stretches = [(spelled.place(start), spelled.place(end), message) for start, end, message in stretches]
    pictures = [structs.replace(picture, arrays={}) for picture in seen.pictures]
    return Turn.of(roles, spelled.text, stretches, seen.ids, ends, missing, pictures, owners)


def turn_before(messages: Messages) -> Messages | None:
    """Returns the conversation up to the question before the last one; None where there was none."""
    asked = [i for i, message in enumerate(messages) if message.get("role") == "user"]
    return messages[: asked[-2] + 1] if len(asked) > 1 else None
