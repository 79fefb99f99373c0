"""The text and the bytes of single tokens, for log-probabilities."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from workbench.text.tokenizer import Tokenizer
from workbench.types import TokenLogprob

LEAST = -9999.0
"""The log-probability that stands for minus infinity, which JSON lacks."""


class TokenTexts:
    """Names tokens. A token that is no whole character is named by its bytes, as in `bytes:\\xe2\\x80`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes_of = lru_cache(maxsize=1 << 16)(self._read)
        self._letters = _byte_letters()

    def bytes_of(self, token_id: int) -> bytes:
        """Returns the bytes that a token adds to a text."""
        return self._bytes_of(token_id)

    def text_of(self, token_id: int) -> str:
        """Returns the text of a token, or its bytes spelled out."""
        data = self.bytes_of(token_id)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)

    def entry(self, scored: TokenLogprob) -> dict[str, Any]:
        """Returns the log-probability of a token in OpenAI's form for chats."""
        top = [self._entry(token_id, logprob) for logprob, token_id in scored.top]
        return {**self._entry(scored.token_id, scored.logprob), "top_logprobs": top}

    def _entry(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        name = self.text_of(token_id)
        return {"token": name, "logprob": finite(logprob), "bytes": list(self.bytes_of(token_id))}

    def _read(self, token_id: int) -> bytes:
        text = self._tokenizer.token_text(token_id)
        if "\ufffd" not in text:
            return text.encode("utf-8", "replace")
        token = self._tokenizer.backend.id_to_token(token_id) or ""
        if token_id in self._tokenizer.byte_ids:
            return bytes([int(token[3:5], 16)])
        if all(letter in self._letters for letter in token):
            return bytes(self._letters[letter] for letter in token)
        return text.encode()


def finite(logprob: float | None) -> float | None:
    """Returns a log-probability that JSON can write."""
    return logprob if logprob is None else max(logprob, LEAST)


@cache
def _byte_letters() -> dict[str, int]:
    """Returns the letters with which byte-level vocabularies write bytes: printable ones stand for themselves."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    other = [byte for byte in range(256) if byte not in plain]
    return {**{chr(byte): byte for byte in plain}, **{chr(256 + i): byte for i, byte in enumerate(other)}}
