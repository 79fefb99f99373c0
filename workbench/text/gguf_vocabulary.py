"""The metadata with which a GGUF file describes a tokenizer: the inverse of `gguf_tokenizer.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from workbench.errors import ModelUnsupported, shown
from workbench.text.chat import source_of
from workbench.text.gguf_tokenizer import CONTROL, GOES_ON, PRE_TOKENIZERS, UNKNOWN, USER_DEFINED, WORD_PIECE_ROLES
from workbench.text.pieces import SPACE
from workbench.text.tokenizer import Tokenizer

NORMAL, UNUSED, BYTE = 1, 5, 6
NO_SCORE = -1000.0
"""The score of a piece that no merge makes."""
MORE_ENDS = ("eot", "eom")
"""Names that the format has for end tokens beside `eos`."""
TEXTS = (
    "Hello world", " a  b   c\n\n\nand\ttabs ", "pi is 3.14159, 2024", "日本語 🎉👩‍👩‍👧 ñandú e\u0301", "I'm you're DON'T we'll",
    "\x00\x7f\ufffd", "½² Ⅷ ٣", "def f(x):\n    return x**2  # comment\n", "aaaaaaaaaaaaaaaaaaaaaaaa", "https://a.b/c?d=e&f=g_h",
)  # fmt: skip
"""Texts whose tokens two equal tokenizers have in common, and most others do not."""
MAX_ADDED = 500
"""The number of added tokens that are compared between texts."""


def tokenizer_meta(tokenizer: Tokenizer, vocab_size: int) -> dict[str, Any]:
    """Returns the keys below `tokenizer.` and their values, for a model whose embedding has `vocab_size` rows.

    Raises ModelUnsupported for a kind of tokenizer that the format, or its reader here, does not have.
    """
    state = json.loads(tokenizer.backend.to_str())
    model, ids = state["model"], tokenizer.backend.get_vocab(with_added_tokens=True)
    tokens = [f"[PAD{index}]" for index in range(max(vocab_size, max(ids.values()) + 1))]
    types = [UNUSED] * len(tokens)
    for token, index in ids.items():
        tokens[index], types[index] = token, NORMAL
    for added in state["added_tokens"]:
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    if model["type"] == "WordPiece":
        return _word_pieces(tokenizer, model, tokens, types)
    merges = [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in model.get("merges", ())]
    if model["type"] != "BPE":
        raise ModelUnsupported(
            f"the tokenizer is of the kind {shown(model['type'])}", hint="kinds that are written: BPE, WordPiece"
        )
    if model.get("byte_fallback"):
        ggml = _pieces(model, tokens, types, merges)
    elif not merges:
        raise ModelUnsupported("the tokenizer joins no bytes: it has no merges", hint="the format has no empty list of them")
    else:
        ggml = {"model": "gpt2", "pre": _rule(state["pre_tokenizer"]), "merges": [" ".join(pair) for pair in merges]}
    ggml |= {"tokens": tokens, "token_type": types, "add_space_prefix": _has_space_prefix(tokenizer)} | _special(tokenizer)
    template = source_of(tokenizer.hf)
    return {f"tokenizer.ggml.{key}": value for key, value in ggml.items()} | (
        {"tokenizer.chat_template": template} if template else {}
    )


def _word_pieces(tokenizer: Tokenizer, model: dict[str, Any], tokens: list[str], types: list[int]) -> dict[str, Any]:
    if model.get("continuing_subword_prefix") != GOES_ON:
        raise ModelUnsupported(f"pieces that go on in a word begin with {shown(model.get('continuing_subword_prefix'))}")
    hf, spelled = tokenizer.hf, []
    for token, kind in zip(tokens, types, strict=True):
        goes_on = token.startswith(GOES_ON)
        spelled.append(token if kind not in (NORMAL, UNUSED) else token[len(GOES_ON) :] if goes_on else f"{SPACE}{token}")
    ids = {name: hf.convert_tokens_to_ids(token) for role, name in WORD_PIECE_ROLES.items() if (token := getattr(hf, role))}
    found = {"model": "bert", "pre": "default", "tokens": spelled, "token_type": types}
    found |= {f"{name}_token_id": index for name, index in ids.items()}
    return {f"tokenizer.ggml.{key}": value for key, value in found.items()}


def first_difference(one: Tokenizer, other: Tokenizer) -> str | None:
    """Returns a text that two tokenizers cut differently, or None where none was found."""
    return next((text for text in _texts(one) if one.encode(text) != other.encode(text)), None)


def _texts(tokenizer: Tokenizer) -> Iterator[str]:
    yield from TEXTS
    for token in list(tokenizer.backend.get_added_tokens_decoder().values())[:MAX_ADDED]:
        yield f"one {token.content} two{token.content}three"


def _pieces(model: dict[str, Any], tokens: list[str], types: list[int], merges: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """Returns what is said of a SentencePiece vocabulary, whose merges are implied by scores. Changes `types`."""
    ranks: dict[str, int] = {}
    for pair in merges:
        ranks.setdefault("".join(pair), len(ranks))
    for index, token in enumerate(tokens):
        if token == model["unk_token"]:
            types[index] = UNKNOWN
        elif types[index] == NORMAL and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            types[index] = BYTE
    return {
        "model": "llama",
        "pre": "default",
        "scores": [float(-ranks[token]) if token in ranks else NO_SCORE for token in tokens],
    }


def _has_space_prefix(tokenizer: Tokenizer) -> bool:
    ids = tokenizer.encode("a", add_special_tokens=False)
    return tokenizer.backend.id_to_token(ids[0]).startswith(SPACE)


def _rule(pre_tokenizer: Any) -> str:
    """Returns the name of the rule by which text is cut before merging."""
    for name, known in PRE_TOKENIZERS.items():
        if _without_offsets(json.loads(known.__getstate__())) == _without_offsets(pre_tokenizer):
            return name
    raise ModelUnsupported(
        f"the tokenizer cuts text in a way without a name here: {shown(pre_tokenizer)}",
        hint=f"rules that are written: {', '.join(sorted(PRE_TOKENIZERS))}",
    )


def _without_offsets(value: Any) -> Any:
    """Returns a part of tokenizer.json without the option that changes no token."""
    if isinstance(value, list):
        return [_without_offsets(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _without_offsets(item) for key, item in value.items() if key != "trim_offsets"}


def _special(tokenizer: Tokenizer) -> dict[str, Any]:
    """Returns the ids of special tokens, and which of them the tokenizer adds to a text by itself."""
    hf, with_special = tokenizer.hf, tokenizer.encode("a")
    ids = {"bos": hf.bos_token_id, "eos": hf.eos_token_id, "unknown": hf.unk_token_id, "padding": hf.pad_token_id}
    ends = sorted(tokenizer.eos_token_ids - {hf.eos_token_id})
    if ids["eos"] is None and ends:
        ids["eos"] = ends.pop(0)
    if len(ends) > len(MORE_ENDS):
        raise ModelUnsupported(f"the model has {len(ends) + 1} end tokens", hint=f"the format has names for {len(MORE_ENDS) + 1}")
    ids |= dict(zip(MORE_ENDS, ends, strict=False))
    found: dict[str, Any] = {f"{name}_token_id": index for name, index in ids.items() if index is not None}
    found["add_bos_token"] = ids["bos"] is not None and with_special[0] == ids["bos"]
    found["add_eos_token"] = ids["eos"] is not None and with_special[-1] == ids["eos"]
    return found
