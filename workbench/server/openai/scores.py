"""Log-probabilities in the form of completions: parallel lists over tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.server.chat.tokens import TokenTexts, finite
from workbench.types import TokenLogprob


@dataclass(slots=True)
class Scores:
    """The tokens of one text so far. `take` returns those that came since it was last called."""

    texts: TokenTexts
    _entries: list[tuple[str, float | None, dict[str, float | None] | None, int]] = field(default_factory=list)
    _offset: int = 0
    _num_taken: int = 0
    _bytes: bytes = b""
    """The bytes of the text that the offsets count, from the first one of an unfinished character on."""

    def add(self, tokens: Sequence[TokenLogprob], is_shown: bool = True) -> None:
        """Adds tokens. Those that end the text are scored, and add nothing to it (`is_shown`)."""
        for token in tokens:
            name = self.texts.text_of(token.token_id)
            self._entries.append((name, finite(token.logprob), self._top(token, name), self._offset))
            if is_shown:
                self._advance(self.texts.bytes_of(token.token_id))

    def take(self) -> dict[str, Any]:
        """Returns the lists of OpenAI's `logprobs`."""
        new = self._entries[self._num_taken :]
        self._num_taken = len(self._entries)
        names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        return {name: [entry[i] for entry in new] for i, name in enumerate(names)}

    def _top(self, token: TokenLogprob, name: str) -> dict[str, float | None] | None:
        """Returns the likeliest tokens and the token itself by their text; the likelier of two with one text."""
        if token.logprob is None:
            return None
        top: dict[str, float | None] = {}
        for logprob, token_id in token.top:
            top.setdefault(self.texts.text_of(token_id), finite(logprob))
        top.setdefault(name, finite(token.logprob))
        return top

    def _advance(self, data: bytes) -> None:
        self._bytes += data
        text = self._bytes.decode("utf-8", "ignore")
        self._offset += len(text)
        self._bytes = self._bytes[len(text.encode()) :]
