"""Files of byte-level tokens give the ids of the tiktoken library with the same tokens and the same cuts."""

from __future__ import annotations

import base64
import json
import unicodedata
from pathlib import Path

import pytest
import tiktoken
import tokenizers

from workbench.errors import ModelCorrupt
from workbench.text.byte_files import ADDED, KIMI, ONE_DIGIT, THREE_DIGITS
from workbench.text.tokenizer import load_tokenizer

TEXTS = (
    "the cat sat",
    "  the\n\n cat ",
    "12345 foxes, DON'T!",
    "caf\u00e9 \u6f22\u5b57 \U0001f600",
    "",
    "x" * 40,
    "a\u0301 \x00",
)
SENTENCES = [
    "the cat sat on the mat while rain fell",
    "DON'T 12345 12 123 foxes jumped",
    "caf\u00e9 na\u00efve \u6f22\u5b57",
] * 20


@pytest.fixture(scope="module")
def ranks() -> dict[bytes, int]:
    """Tokens as a byte-level BPE learns them, in the order of its merges."""
    made = tokenizers.ByteLevelBPETokenizer()
    made.train_from_iterator(SENTENCES, vocab_size=420, show_progress=False)
    single = {bytes([byte]): byte for byte in range(256)}
    learned = (made.decode([i]).encode() for i in range(made.get_vocab_size()))
    for token in learned:
        if "\ufffd".encode() not in token:
            single.setdefault(token, len(single))
    assert len(single) > 300
    return single


def write_tiktoken(path: Path, ranks: dict[bytes, int]) -> None:
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()))


def test_qwens_file_has_the_ids_of_the_library(tmp_path: Path, ranks: dict[bytes, int]):
    write_tiktoken(tmp_path / "qwen.tiktoken", ranks)
    config = {"tokenizer_class": "QWenTokenizer", "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "tokenization_qwen.py").write_text("raise SystemExit('never run')")
    special = {name: len(ranks) + i for i, name in enumerate(ADDED["QWenTokenizer"])}
    theirs = tiktoken.Encoding("x", pat_str=ONE_DIGIT, mergeable_ranks=ranks, special_tokens=special)
    ours = load_tokenizer(tmp_path)
    for text in (*TEXTS, "<|im_start|>user\nthe cat<|im_end|>"):
        composed = unicodedata.normalize("NFC", text)  # as the class does
        assert list(ours.encode(text)) == theirs.encode(composed, allowed_special="all"), text
        assert ours.decode(ours.encode(text), skip_special_tokens=False) == composed
    assert ours.vocab_size == theirs.n_vocab
    assert ours.eos_token_ids == {special["<|endoftext|>"]}


def test_phi_3_smalls_file_has_the_special_tokens_of_its_class(tmp_path: Path, ranks: dict[bytes, int]):
    write_tiktoken(tmp_path / "cl100k_base.tiktoken", ranks)
    config = {"tokenizer_class": "Phi3SmallTokenizer", "added_tokens_decoder": {}, "bos_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [len(ranks) + 1, len(ranks) + 10]}))
    ours, places = (
        load_tokenizer(tmp_path),
        {"<|endoftext|>": 1, "<|system|>": 5, "<|user|>": 6, "<|assistant|>": 7, "<|end|>": 10},
    )
    assert {name: ours.backend.token_to_id(name) - len(ranks) for name in places} == places
    assert ours.vocab_size == len(ranks) + 96, "100,352 with all tokens"
    assert ours.eos_token_ids == {len(ranks) + 1, len(ranks) + 10}
    text = "<|user|>\nthe cat<|end|>"
    assert ours.decode(ours.encode(text), skip_special_tokens=False) == text
    assert ours.encode(text)[0] == len(ranks) + 6


def test_kimis_file_has_reserved_ids_between_its_special_tokens(tmp_path: Path, ranks: dict[bytes, int]):
    write_tiktoken(tmp_path / "tiktoken.model", ranks)
    named = {
        0: ("[BOS]", True),
        1: ("[EOS]", True),
        2: ("<|im_end|>", True),
        4: ("<|tool_call_begin|>", False),
        7: ("[PAD]", True),
    }
    added = {str(len(ranks) + i): {"content": name, "special": special} for i, (name, special) in named.items()}
    config = {"tokenizer_class": "TikTokenTokenizer", "added_tokens_decoder": added, "bos_token": "[BOS]", "eos_token": "[EOS]"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs = tiktoken.Encoding("x", pat_str=KIMI, mergeable_ranks=ranks, special_tokens={})
    ours = load_tokenizer(tmp_path)
    for text in (*TEXTS, "HTTPServer's caf\u00e9\u6f22\u5b57abc 1234\u6f22"):
        assert list(ours.encode(text)) == theirs.encode(text), text
    assert ours.encode("<|im_end|>a<|tool_call_begin|>", add_special_tokens=False)[::2] == (len(ranks) + 2, len(ranks) + 4)
    assert ours.decode((len(ranks) + 2, len(ranks) + 4)) == "<|tool_call_begin|>"
    assert (ours.vocab_size, ours.eos_token_ids) == (len(ranks) + 8, {len(ranks) + 1})


def test_glms_file_begins_texts_with_its_prefix(tmp_path: Path, ranks: dict[bytes, int]):
    write_tiktoken(tmp_path / "tokenizer.model", ranks)
    names = ["<|endoftext|>", "[gMASK]", "<sop>", "<|user|>"]
    added = {str(len(ranks) + i): {"content": name, "special": True} for i, name in enumerate(names)}
    config = {"tokenizer_class": "ChatGLM4Tokenizer", "added_tokens_decoder": added, "eos_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs = tiktoken.Encoding("x", pat_str=THREE_DIGITS, mergeable_ranks=ranks, special_tokens={})
    ours = load_tokenizer(tmp_path)
    prefix = [len(ranks) + 1, len(ranks) + 2]
    for text in TEXTS:
        assert list(ours.encode(text)) == prefix + theirs.encode(text), text
    assert theirs.encode("12345") != tiktoken.Encoding("y", pat_str=ONE_DIGIT, mergeable_ranks=ranks, special_tokens={}).encode(
        "12345"
    )
    assert ours.eos_token_ids == {len(ranks)}


@pytest.mark.parametrize("lists_special", [True, False])
def test_tekken_has_its_special_tokens_first(tmp_path: Path, ranks: dict[bytes, int], lists_special: bool):
    vocab = [{"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None} for token, rank in ranks.items()]
    config = {"pattern": THREE_DIGITS, "default_vocab_size": 300, "default_num_special_tokens": 10, "version": "v3"}
    special = [{"rank": i, "token_str": name, "is_control": True} for i, name in enumerate(["<unk>", "<s>", "</s>", "[INST]"])]
    content = {"config": config, "vocab": vocab, "special_tokens": special if lists_special else None}
    (tmp_path / "tekken.json").write_text(json.dumps(content))
    kept = {token: rank for token, rank in ranks.items() if rank < 290}
    theirs = tiktoken.Encoding("x", pat_str=THREE_DIGITS, mergeable_ranks=kept, special_tokens={})
    ours = load_tokenizer(tmp_path)
    for text in TEXTS:
        assert list(ours.encode(text)) == [1, *(10 + token for token in theirs.encode(text))], text
    assert ours.vocab_size == 300
    assert ours.eos_token_ids == {2}
    name = "[INST]" if lists_special else "<SPECIAL_3>"
    assert ours.encode(f"{name}a", add_special_tokens=False)[0] == 3


def test_broken_files_are_named_with_their_line(tmp_path: Path, ranks: dict[bytes, int]):
    path = tmp_path / "qwen.tiktoken"
    write_tiktoken(path, ranks)
    path.write_text(path.read_text() + "!!\n")
    with pytest.raises(ModelCorrupt, match=rf"line {len(ranks) + 1} of .*qwen\.tiktoken"):
        load_tokenizer(tmp_path)
    path.unlink()
    (tmp_path / "tekken.json").write_text('{"config": {}}')
    with pytest.raises(ModelCorrupt, match="no tokenizer of Mistral"):
        load_tokenizer(tmp_path)
