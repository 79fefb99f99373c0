"""Token ids as the text that a person reads in a view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def no_text(token_ids: Sequence[int]) -> str:
    """For an engine without tokenizer: the numbers."""
    return " ".join(map(str, token_ids))


def text_of(tokenizer: Any) -> Callable[[Sequence[int]], str]:
    """The text of token ids in a Hugging Face tokenizer, special tokens included."""
    if tokenizer is None:
        return no_text
    backend = tokenizer.backend_tokenizer  # what `tokenizer.decode` asks in the end: a view asks it for every token
    return lambda ids: backend.decode(list(ids), skip_special_tokens=False)
