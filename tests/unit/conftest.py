"""A small vocabulary in the byte-level spelling of real tokenizers."""

from __future__ import annotations

import string

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from workbench.grammar import Vocabulary

WORDS = ['"', '": "', '", "', "true", "false", "null", '{"', '"}', "ab", "ba", "aab", "12", "0.5", "2020-01-01", "<not special>"]


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    """Single characters, a few words, bytes of é and 漢, `</s>` to end and `<s>`; the model's logits are wider."""
    spelled = {ord(" "): "Ġ", ord("\n"): "Ċ"}
    words = [*string.printable[:95], "\n", *WORDS]
    pieces = dict.fromkeys(["</s>", "<s>", *(word.translate(spelled) for word in words), *"Ã©æ¼¢"])
    backend = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["</s>", "<s>"])
    backend.add_tokens([AddedToken("<not special>", special=False)])
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", bos_token="<s>")
    return Vocabulary(hf, len(pieces) + 37, frozenset({0}))
