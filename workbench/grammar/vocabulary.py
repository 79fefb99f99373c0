"""The tokens of a model, as grammars need them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """One tokenizer as one model uses it. Vocabularies are compared by identity: make one per engine and keep it."""

    hf: Any
    """Fast tokenizer of transformers; only backends look inside."""
    size: int
    """Width of the model's logits, which may exceed the tokenizer's number of ids."""
    eos_token_ids: frozenset[int]
    """Tokens that end a text; a request may name others when its matcher starts."""

    @cached_property
    def info(self) -> Any:
        """Tokenizer for xgrammar, an `xgrammar.TokenizerInfo`: it supports all spellings of bytes.

        Special tokens are left out: their text is not part of an output, so no grammar may rely on it.
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
        """Bytes that each token adds to a text, by id; empty for special tokens and for ids without a token."""
        return tuple(bytes(data) for data in self.info.decoded_vocab)
