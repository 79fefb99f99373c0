"""What a grammar needs to know of a model's tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """One tokenizer as seen by one model. Compared by identity: make one per engine and keep it."""

    hf: Any
    """The transformers fast tokenizer; opaque to everything but a backend."""
    size: int
    """Width of the model's logits, which may exceed the tokenizer's number of ids."""
    eos_token_ids: frozenset[int]
    """Tokens that end a text; a request may name others when its matcher starts."""
