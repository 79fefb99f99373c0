"""Token ids as readable text, for views and explanations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def no_text(token_ids: Sequence[int]) -> str:
    """Returns the ids themselves, for an engine without tokenizer."""
    return " ".join(map(str, token_ids))


def text_of(tokenizer: Any) -> Callable[[Sequence[int]], str]:
    """Returns a function that decodes token ids with a Hugging Face tokenizer, special tokens included."""
    if tokenizer is None:
        return no_text
    backend = tokenizer.backend_tokenizer  # `tokenizer.decode` calls it in the end; a view decodes every token
    return lambda ids: backend.decode(list(ids), skip_special_tokens=False)
