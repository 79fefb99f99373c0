"""The tokenizer that a GGUF file's metadata describes.

Two kinds exist in our families. `gpt2` is byte-level BPE with its merges listed; how text is cut before merging is
named by `tokenizer.ggml.pre`. `llama` is SentencePiece's BPE, whose merges are implied: any two pieces that join to
a third, best piece first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from workbench.checkpoint.gguf_file import GgufFile
from workbench.errors import ModelCorrupt, ModelUnsupported

# Token types of the format.
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4
SPACE = "\u2581"  # how SentencePiece writes a space

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
_BYTES_ONLY = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

# `tokenizer.ggml.pre` -> how text is cut before byte-level merging.
PRE_TOKENIZERS: dict[str, Any] = {
    "gpt-2": _BYTES,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _BYTES]),
    "llama-bpe": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"), _BYTES_ONLY]),
}
SAME_PRE_TOKENIZER = {"llama3": "llama-bpe", "llama-v3": "llama-bpe"}


def open_tokenizer(gguf: GgufFile) -> Any:
    """Returns the tokenizer as an object of transformers. Raises ModelUnsupported, ModelCorrupt."""
    from transformers import PreTrainedTokenizerFast

    with gguf.is_to_blame():
        backend, config = build_tokenizer(gguf), tokenizer_config(gguf)
    return PreTrainedTokenizerFast(tokenizer_object=_NotCopied(backend), **config)


class _NotCopied:
    """Hands a tokenizer to transformers, which would write it out and read it again, a second for a large vocabulary."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __deepcopy__(self, memo: dict[int, Any]) -> Tokenizer:
        return self._tokenizer


def build_tokenizer(gguf: GgufFile) -> Tokenizer:
    """Returns the tokenizer's backend. Raises ModelUnsupported for a kind, or a rule to cut text, that is not known here."""
    kind = gguf.meta.need("tokenizer.ggml.model")
    if kind == "gpt2":
        tokenizer = _byte_level_bpe(gguf)
    elif kind == "llama":
        tokenizer = _sentencepiece_bpe(gguf)
    else:
        raise ModelUnsupported(f"{gguf.path} has a tokenizer of kind {kind!r}", hint="supported kinds: gpt2, llama")
    _add_special_tokens(tokenizer, gguf)
    bos, eos = adds(gguf)
    if bos or eos:
        tokenizer.post_processor = _template(gguf, bos, eos)
    return tokenizer


def adds(gguf: GgufFile) -> tuple[bool, bool]:
    """Returns whether a BOS token goes before and an EOS token after a text. In older files the habit of their kind counts."""
    habit = gguf.meta.get("tokenizer.ggml.model") == "llama" or _pre_tokenizer_name(gguf) == "llama-bpe"
    bos = bool(gguf.meta.get("tokenizer.ggml.add_bos_token", habit))
    eos = bool(gguf.meta.get("tokenizer.ggml.add_eos_token", False))
    return bos and token_id(gguf, "bos") is not None, eos and token_id(gguf, "eos") is not None


def token_id(gguf: GgufFile, name: str) -> int | None:
    """Returns the id of `bos`, `eos`, `unknown`, `padding`, `eot`, `eom`; None when the file names none."""
    value = gguf.meta.get(f"tokenizer.ggml.{name}_token_id")
    return None if value is None else int(value)


def tokenizer_config(gguf: GgufFile) -> dict[str, Any]:
    """Returns what tokenizer_config.json would say."""
    tokens = _tokens(gguf)
    bos, eos = adds(gguf)
    config: dict[str, Any] = {
        "model_max_length": gguf.meta.need(f"{gguf.architecture}.context_length"),
        "clean_up_tokenization_spaces": False,
        "add_bos_token": bos,
        "add_eos_token": eos,
    }
    for key, name in (("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")):
        token = token_id(gguf, name)
        if token is not None:
            config[key] = tokens[token]
    template = gguf.meta.get("tokenizer.chat_template")
    if template:
        config["chat_template"] = template
    return config


def _tokens(gguf: GgufFile) -> list[str]:
    tokens: list[str] = gguf.meta.need("tokenizer.ggml.tokens")
    if _is_gemma(gguf):
        # Runs of spaces are stored as spaces, unlike every other piece with a space in it.
        tokens = [SPACE * len(token) if token.startswith("  ") and not token.strip(" ") else token for token in tokens]
    if len(set(tokens)) != len(tokens):
        raise ModelCorrupt(f"{gguf.path}: the vocabulary lists {len(tokens) - len(set(tokens))} tokens twice")
    return tokens


def _is_gemma(gguf: GgufFile) -> bool:
    return gguf.architecture.startswith("gemma")


def _pre_tokenizer_name(gguf: GgufFile) -> str:
    name = str(gguf.meta.get("tokenizer.ggml.pre", "default"))
    return SAME_PRE_TOKENIZER.get(name, name)


def _byte_level_bpe(gguf: GgufFile) -> Tokenizer:
    name = _pre_tokenizer_name(gguf)
    if name not in PRE_TOKENIZERS:
        known = ", ".join(sorted([*PRE_TOKENIZERS, *SAME_PRE_TOKENIZER]))
        raise ModelUnsupported(f"{gguf.path} cuts text by the rule {name!r}", hint=f"supported rules: {known}")
    vocab = {token: index for index, token in enumerate(_tokens(gguf))}
    merges = [tuple(merge.split(" ", 1)) for merge in gguf.meta.need("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=name == "llama-bpe"))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[name]
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece_bpe(gguf: GgufFile) -> Tokenizer:
    tokens = _tokens(gguf)
    # Gemma's scores say nothing; its pieces stand in the order in which they were learned.
    ranks: Sequence[float] = range(len(tokens)) if _is_gemma(gguf) else [-s for s in gguf.meta.need("tokenizer.ggml.scores")]
    unknown = token_id(gguf, "unknown")
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=implied_merges(tokens, ranks),
            unk_token=None if unknown is None else tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    to_piece = normalizers.Replace(" ", SPACE)
    to_text = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if gguf.meta.get("tokenizer.ggml.add_space_prefix", True):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), to_piece])
        to_text.append(decoders.Strip(" ", 1, 0))
    else:
        tokenizer.normalizer = to_piece
    tokenizer.decoder = decoders.Sequence(to_text)
    return tokenizer


def implied_merges(tokens: Sequence[str], ranks: Sequence[float]) -> list[tuple[str, str]]:
    """Returns every pair of pieces that joins to a piece, by the rank of the result (lowest first), longer left side first."""
    vocab = set(tokens)
    ordered = [tokens[index] for index in sorted(range(len(tokens)), key=ranks.__getitem__)]
    cuts = ((piece, cut) for piece in ordered for cut in range(len(piece) - 1, 0, -1))
    return [(left, right) for piece, cut in cuts if (right := piece[cut:]) in vocab and (left := piece[:cut]) in vocab]


def _add_special_tokens(tokenizer: Tokenizer, gguf: GgufFile) -> None:
    """Control tokens are never cut and not shown; user-defined ones are never cut."""
    tokens, types = _tokens(gguf), gguf.meta.get("tokenizer.ggml.token_type") or ()
    stored = gguf.meta.need("tokenizer.ggml.tokens")
    special, plain = [], []
    for token, spelled, kind in zip(tokens, stored, types, strict=False):
        if kind in (UNKNOWN, CONTROL):
            special.append(AddedToken(token, normalized=False, special=True))
        elif kind == USER_DEFINED and token == spelled:
            plain.append(AddedToken(token, normalized=False, special=False))
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(plain)


def _template(gguf: GgufFile, bos: bool, eos: bool) -> Any:
    tokens = _tokens(gguf)
    ids = {name: token_id(gguf, name) or 0 for name, wanted in (("bos", bos), ("eos", eos)) if wanted}
    before, after = [tokens[ids["bos"]]] if bos else [], [tokens[ids["eos"]]] if eos else []
    one, other = [*before, "$A", *after], [*before, "$B:1", *after]
    special = [(tokens[index], index) for index in ids.values()]
    return processors.TemplateProcessing(single=" ".join(one), pair=" ".join([*one, *other]), special_tokens=special)
