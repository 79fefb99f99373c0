"""A model folder with a tokenizer, small enough for a hundred requests a second: random weights, every byte, a few words."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from workbench.model.tiny import TINY_LLAMA, write_config

WORDS = [
    *('": ', '": "', '", "', ", ", "{", '{"', '"}', "}}", "[]", "[[", "]]", "true", "false", "null", "the", " the", " a", "ab"),
    *("cd", "name", "12", "34", "0.5", ".com", "http://", "2020-", "-01-", "T00:", "Hello", " world", "Paris", "yes", "no"),
]
END = "</s>"
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}


def write_text_model(folder: Path, **changes: int) -> Path:
    """Writes a folder for `load_format="dummy"`: weights are drawn from the seed, the tokenizer is real."""
    hf = tokenizer()
    write_config(
        folder, TINY_LLAMA, **TINY | {"vocab_size": len(hf), "eos_token_id": 0, "max_position_embeddings": 1024} | changes
    )
    hf.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
    return folder


def tokenizer() -> PreTrainedTokenizerFast:
    """Returns a byte-level tokenizer without merges: texts become bytes, and the words come only from a model."""
    spelled = byte_spelling()
    pieces = [END, *spelled.values(), *("".join(spelled[byte] for byte in word.encode()) for word in WORDS)]
    backend = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(dict.fromkeys(pieces))}, merges=[]))
    backend.decoder = decoders.ByteLevel()
    backend.pre_tokenizer = None
    backend.add_special_tokens([END])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END, clean_up_tokenization_spaces=False)


def byte_spelling() -> dict[int, str]:
    """Returns the character that stands for each byte in byte-level vocabularies."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}
