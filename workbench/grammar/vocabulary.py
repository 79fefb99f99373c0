"""The tokens of a model as a grammar needs them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """One tokenizer as seen by one model. Compared by identity: make one per engine and keep it."""

    tokenizer: Any
    """The transformers fast tokenizer, or an object that makes it where its `hf` is read."""
    size: int
    """Width of the model's logits, which may exceed the tokenizer's number of ids."""
    eos_token_ids: frozenset[int]
    """Tokens that end a text; a request may name others when its matcher starts."""

    @property
    def hf(self) -> Any:
        """The transformers fast tokenizer; opaque to everything but a backend."""
        return getattr(self.tokenizer, "hf", self.tokenizer)

    @cached_property
    def info(self) -> Any:
        """Without special tokens: their text is not part of an output, so no grammar may count on it.

        An `xgrammar.TokenizerInfo`: it has the bytes of each kind of tokenizer.
        """
        import xgrammar  # not at the top: it brings torch

        kind = xgrammar.TokenizerInfo.from_huggingface(self.hf, vocab_size=self.size, stop_token_ids=[0])
        tokens = [""] * self.size
        special = {i for i, token in self.hf.added_tokens_decoder.items() if token.special}
        for token, i in self.hf.get_vocab().items():
            if i < self.size and i not in special:
                tokens[i] = token
        # No stop tokens here: each matcher names its own.
        return xgrammar.TokenizerInfo(
            tokens, kind.vocab_type, vocab_size=self.size, stop_token_ids=[], add_prefix_space=kind.add_prefix_space
        )

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """Bytes that each token adds to a text, by id; none for special tokens and for ids without a token."""
        return tuple(bytes(data) for data in self.info.decoded_vocab)
