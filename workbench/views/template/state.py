"""A conversation as the model reads it: cut into tokens, each of one message or of the template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from workbench.text import chat
from workbench.text.tokenizer import Tokenizer
from workbench.text.written import texts, written

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class PromptToken:
    id: int
    text: str
    """Text that it adds; a token that completes no character adds none."""
    message: int | None
    """Number of its message; None for what the template wrote."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One conversation, written by the template and cut into tokens."""

    roles: tuple[str, ...]
    """Roles of the messages, in order."""
    tokens: tuple[PromptToken, ...]
    missing: tuple[int, ...] = ()
    """Messages whose text the template changed or dropped."""

    @classmethod
    def of(
        cls,
        roles: Sequence[str],
        text: str,
        stretches: Iterable[tuple[int, int, int]],
        ids: Sequence[int],
        ends: Sequence[int],
        missing: Iterable[int] = (),
    ) -> Turn:
        """Returns the turn of a text. `stretches` are (start, end, message) in its characters, `ends` the ends of its tokens.

        A token belongs to the message that holds its first character that is no space. Text between two tokens goes to the
        second, since tokenizers leave spaces out of their offsets.
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
        return cls(tuple(roles), tuple(tokens), tuple(missing))

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


def turn_of(hf: Any, messages: Messages, tools: Sequence[Any] | None) -> Turn:
    """Returns a conversation as it would be sent. One that ends with an answer gets no prompt for a further one.

    `hf` is the Hugging Face tokenizer. Raises what the model's template raises for these messages.
    """
    render = partial(chat.render, hf, tools=tools, add_generation_prompt=messages[-1].get("role") != "assistant")
    found = written(render, messages)
    ids, ends = Tokenizer(hf).places(found.text)
    missing = [i for i, message in enumerate(messages) if texts(message) and i not in found.found]
    stretches = [(stretch.start, stretch.end, stretch.message) for stretch in found.stretches]
    return Turn.of([str(message.get("role")) for message in messages], found.text, stretches, ids, ends, missing)


def turn_before(messages: Messages) -> Messages | None:
    """Returns the conversation up to the question before the last one; None where there was none."""
    asked = [i for i, message in enumerate(messages) if message.get("role") == "user"]
    return messages[: asked[-2] + 1] if len(asked) > 1 else None
