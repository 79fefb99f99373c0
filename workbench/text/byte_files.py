"""Reads files of byte-level tokens without merges: tiktoken's (Qwen 1, GLM-4) and Mistral's `tekken.json`."""

from __future__ import annotations

import base64
import binascii
import json
import re
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers

from workbench.errors import ModelCorrupt
from workbench.text.pieces import add_tokens, bpe_of_bytes

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
THREE_DIGITS = rf"{CONTRACTIONS}|\p{{N}}{{1,3}}|{REST}"
"""The cuts of cl100k, Llama 3 and GLM-4."""
ONE_DIGIT = rf"{CONTRACTIONS}|\p{{N}}|{REST}"
_UPPER, _LOWER = (rf"[{kinds}\p{{Lm}}\p{{Lo}}\p{{M}}&&[^\p{{Han}}]]" for kinds in (r"\p{Lu}\p{Lt}", r"\p{Ll}"))
_FIRST, _ENDS = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
KIMI = rf"[\p{{Han}}]+|{_FIRST}{_UPPER}*{_LOWER}+{_ENDS}|{_FIRST}{_UPPER}+{_LOWER}*{_ENDS}|\p{{N}}{{1,3}}|{REST}"
PATTERNS = {"QWenTokenizer": ONE_DIGIT, "TikTokenTokenizer": KIMI}
"""Cuts by the class of the tokenizer; others have `THREE_DIGITS`. A tiktoken file does not state them."""
_FIM = [f"<|fim_{part}|>" for part in ("prefix", "middle", "suffix")]
ADDED = {
    "QWenTokenizer": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))],
    "Phi3SmallTokenizer": [
        "<|dummy_id_2|>", "<|endoftext|>", *_FIM, "<|system|>", "<|user|>", "<|assistant|>", "<|dummy_id_0|>", "<|dummy_id_1|>",
        "<|end|>", *(f"<|dummy_id_{i}|>" for i in range(3, 12)), "<|endofprompt|>", *(f"<|dummy_id_{i}|>" for i in range(12, 87)),
    ],
}  # fmt: skip
"""Special tokens behind those of the file, where no other file lists them."""
OLDER: list[dict[str, Any]] = [{"rank": i, "token_str": token} for i, token in enumerate(["<unk>", "<s>", "</s>"])]
"""Special tokens of a tekken.json that lists none."""
LINE = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?$")


COMPOSED = frozenset({"QWenTokenizer"})
"""Classes of tokenizers that compose letters and their marks first (NFC)."""


def is_tiktoken(path: Path) -> bool:
    """Returns whether a file has the lines of tiktoken: a token in base64, and its rank."""
    with path.open("rb") as file:
        return LINE.match(file.readline().rstrip(b"\n")) is not None


def read_tiktoken(path: Path, tokenizer_class: str, added: dict[str, int]) -> Tokenizer:
    """Returns the tokenizer of a file, without its special tokens where `added` lists any. Raises ModelCorrupt."""
    tokens: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            token, rank = line.split()
            tokens[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            if line.strip():
                raise ModelCorrupt(f"line {number} of {path} is no token and its rank", hint="copy the file again") from None
    made = bpe_of_bytes(tokens, PATTERNS.get(tokenizer_class, THREE_DIGITS))
    if tokenizer_class in COMPOSED:
        made.normalizer = normalizers.NFC()
    if not added:
        names = ADDED.get(tokenizer_class, [])
        add_tokens(made, {name: len(tokens) + i for i, name in enumerate(names)}, special=True)
    return made


def read_tekken(path: Path) -> tuple[Tokenizer, dict[str, str]]:
    """Returns the tokenizer of Mistral's file, and its special tokens by their role. Raises ModelCorrupt."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config = content["config"]
        num_special, pattern = int(config["default_num_special_tokens"]), str(config["pattern"])
        count = int(config["default_vocab_size"]) - num_special
        tokens = [base64.b64decode(one["token_bytes"], validate=True) for one in content["vocab"][:count]]
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise ModelCorrupt(f"{path} is no tokenizer of Mistral: {error!r}", hint="copy the file again") from None
    named = {int(one["rank"]): str(one["token_str"]) for one in content.get("special_tokens") or OLDER}
    special = {named.get(i, f"<SPECIAL_{i}>"): i for i in range(num_special)}
    made = bpe_of_bytes({token: num_special + i for i, token in enumerate(tokens)}, pattern, special)
    add_tokens(made, special, special=True)
    roles = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return made, {role: token for role, token in roles.items() if token in special}
