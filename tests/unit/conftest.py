"""A small vocabulary in the byte-level spelling of real tokenizers."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


@pytest.fixture
def make_gguf(tmp_path: Path) -> Callable[..., Path]:
    """Function that writes a GGUF file of a `GgufSpec` with these changes."""
    from tiny_gguf import GgufSpec, write_gguf

    def make(name: str = "tiny.gguf", **spec: Any) -> Path:
        return write_gguf(tmp_path / name, GgufSpec(**spec))

    return make


@pytest.fixture(scope="session")
def tiny_ggufs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each family, not to be changed."""
    from tiny_gguf import GgufSpec, write_gguf

    folder = tmp_path_factory.mktemp("ggufs")
    return {arch: write_gguf(folder / f"{arch}.gguf", GgufSpec(arch=arch)) for arch in ("llama", "gemma3")}
