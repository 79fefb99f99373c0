"""The tokenizer that a GGUF file's metadata describes.

Four kinds exist in our families. `gpt2` is byte-level BPE with its merges listed; how text is cut before merging is
named by `tokenizer.ggml.pre`. `llama` is SentencePiece's BPE, whose merges are implied: any two pieces that join to
a third, best piece first. `bert` is WordPiece: a piece that begins a word is written with a mark before it, any other without.
`t5` is SentencePiece's Unigram, as in XLM-RoBERTa: of all ways to cut a text the likeliest, by the scores of its pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from workbench.checkpoint.gguf_file import GgufFile
from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.text.byte_files import ONE_DIGIT, THREE_DIGITS
from workbench.text.later_tokenizer import LaterTokenizer
from workbench.text.pieces import SPACE, bpe_of_pieces, surround, write_spaces
from workbench.text.sentencepiece_file import UNIGRAM, PieceModel

# Token types of the format.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
"""Key of tokenizer_config.json -> the token's name in a file."""
WORD_PIECE_ROLES = {
    "cls_token": "bos",
    "sep_token": "seperator",
    "mask_token": "mask",
    "unk_token": "unknown",
    "pad_token": "padding",
}
"""The same of BERT. The name of the separator is spelled so in the format."""
GOES_ON = "##"
TEMPLATE = "tokenizer.chat_template"
"""Key of the chat template; further ones have their names behind it."""
CONVERT_AGAIN = "convert the model again with a current llama.cpp"

_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_WORDS = (rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*")
_ENDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_OTHER = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O = rf"{_WORDS[0]}{_ENDS}|{_WORDS[1]}{_ENDS}|\p{{N}}{{1,3}}|{_OTHER}"
TEKKEN = rf"{_WORDS[0]}|{_WORDS[1]}|\p{{N}}|{_OTHER}"
DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Pattern for the rest, once digits and signs of Chinese and Japanese are cut out."""

CASED = r"\p{Lu}\p{Ll}\p{Lt}"
_HAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK = (
    "[\r\n]",
    rf"\s?[{CASED}]+",
    r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    r"\s+$",
    _HAN,
    r"\p{N}",
)
DEEPSEEK_CODER = ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _HAN, r"\p{N}")

_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
_BYTES_ONLY = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def _cut(*patterns: str) -> Any:
    """Returns the rule that cuts a text by each pattern in turn."""
    return pre_tokenizers.Sequence([*(pre_tokenizers.Split(Regex(one), "isolated") for one in patterns), _BYTES_ONLY])


# `tokenizer.ggml.pre` -> how text is cut before byte-level merging.
PRE_TOKENIZERS: dict[str, Any] = {
    "gpt-2": _BYTES,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _BYTES]),
    "llama-bpe": _cut(THREE_DIGITS),
    "qwen2": _cut(ONE_DIGIT),
    "gpt-4o": _cut(GPT4O),
    "tekken": _cut(TEKKEN),
    "deepseek-v3": _cut(r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK3),
    "deepseek-llm": _cut(*DEEPSEEK),
    "deepseek-coder": _cut(*DEEPSEEK_CODER),
    # The cuts of others, with another habit: no token before a text, pieces that are merged, letters as they are.
    "dbrx": _cut(THREE_DIGITS),
    "deepseek-r1-qwen": _cut(ONE_DIGIT),
}
SAME_PRE_TOKENIZER = {
    "llama3": "llama-bpe", "llama-v3": "llama-bpe", "falcon3": "llama-bpe", "pixtral": "llama-bpe",
    "chatglm-bpe": "dbrx", "glm4": "dbrx", "smaug-bpe": "dbrx",
    "stablelm2": "deepseek-r1-qwen", "olmo": "gpt-2", "starcoder": "smollm", "refact": "smollm", "command-r": "smollm",
    "exaone": "smollm", "llama4": "gpt-4o", "phi-2": "gpt-2", "roberta-bpe": "gpt-2", "jina-v1-en": "gpt-2", "jina-es": "gpt-2",
    "jina-de": "gpt-2", "jina-v2-es": "gpt-2", "jina-v2-de": "gpt-2", "jina-v2-code": "gpt-2",
    "codeshell": "smollm", "minerva-7b": "smollm", "megrez": "deepseek-r1-qwen",
}  # fmt: skip
"""Other names of a rule, and names of models whose tokenizers have one of these."""
USUAL_RULES = {
    "qwen2": "qwen2", "qwen": "qwen2", "phi2": "gpt-2", "gpt2": "gpt-2", "starcoder": "starcoder", "starcoder2": "starcoder",
    "command-r": "command-r", "olmo": "olmo",
}  # fmt: skip
"""Architecture -> the rule of its models, where a file of before May 2024 names none."""
LLAMA_3_TOKENS = 128_256
WHOLE_FIRST = frozenset({"llama-bpe", "tekken"})
"""Rules of tokenizers in which a piece that is a token by itself is not merged."""
COMPOSED = frozenset({"qwen2"})
"""Rules of tokenizers that compose letters and their marks first (NFC)."""


def open_tokenizer(gguf: GgufFile) -> LaterTokenizer:
    """Returns the tokenizer. Raises ModelUnsupported, ModelCorrupt."""
    with gguf.is_to_blame():
        tokens = vocabulary(gguf)
        return LaterTokenizer(build_tokenizer(gguf, tokens), tokenizer_config(gguf, tokens))


def build_tokenizer(gguf: GgufFile, tokens: list[str]) -> Tokenizer:
    """Returns the tokenizer's backend. Raises ModelUnsupported for a kind, or a rule to cut text, that is not known here."""
    kind = gguf.meta.need("tokenizer.ggml.model")
    if kind == "gpt2":
        tokenizer = _byte_level_bpe(gguf, tokens)
    elif kind == "llama":
        tokenizer = _sentencepiece_bpe(gguf, tokens)
    elif kind == "bert":
        tokenizer = _word_pieces(gguf, tokens)
    elif kind == "t5":
        tokenizer = _unigram(gguf, tokens)
    else:
        raise ModelUnsupported(f"{gguf.path} has a tokenizer of kind {kind!r}", hint="supported kinds: gpt2, llama, bert, t5")
    _add_special_tokens(tokenizer, gguf, tokens)
    if kind == "bert":
        return tokenizer  # what goes around a text is written by it
    bos, eos = adds(gguf)
    if bos or eos:
        before, after = ([tokens[token_id(gguf, name) or 0]] if wanted else [] for name, wanted in (("bos", bos), ("eos", eos)))
        surround(tokenizer, before, after)
    return tokenizer


def adds(gguf: GgufFile) -> tuple[bool, bool]:
    """Returns whether a BOS token goes before and an EOS token after a text. In older files the habit of their kind counts."""
    habit = gguf.meta.get("tokenizer.ggml.model") in ("llama", "t5") or _pre_tokenizer_name(gguf) == "llama-bpe"
    bos = bool(gguf.meta.get("tokenizer.ggml.add_bos_token", habit))
    eos = bool(gguf.meta.get("tokenizer.ggml.add_eos_token", gguf.meta.get("tokenizer.ggml.model") == "t5"))
    return bos and token_id(gguf, "bos") is not None, eos and token_id(gguf, "eos") is not None


def token_id(gguf: GgufFile, name: str) -> int | None:
    """Returns the id of `bos`, `eos`, `unknown`, `padding`, `eot`, `eom`; None when the file names none."""
    value = gguf.meta.get(f"tokenizer.ggml.{name}_token_id")
    return None if value is None else int(value)


def tokenizer_config(gguf: GgufFile, tokens: list[str]) -> dict[str, Any]:
    """Returns what tokenizer_config.json would say."""
    bos, eos = adds(gguf)
    config: dict[str, Any] = {
        "model_max_length": gguf.meta.need(f"{gguf.architecture}.context_length"),
        "clean_up_tokenization_spaces": False,
        "add_bos_token": bos,
        "add_eos_token": eos,
    }
    roles = WORD_PIECE_ROLES if gguf.meta.get("tokenizer.ggml.model") == "bert" else ROLES
    for key, name in roles.items():
        token = token_id(gguf, name)
        if token is not None:
            config[key] = tokens[token]
    templates = {key.removeprefix(f"{TEMPLATE}."): gguf.meta.get(key) for key in gguf.meta if key.startswith(f"{TEMPLATE}.")}
    template = gguf.meta.get(TEMPLATE)
    if template or templates:
        config["chat_template"] = ({"default": template} if template else {}) | templates if templates else template
    return config


def vocabulary(gguf: GgufFile) -> list[str]:
    """Returns all tokens by their ids, as a tokenizer spells them. Raises ModelCorrupt for one that is listed twice."""
    tokens: list[str] = gguf.meta.need("tokenizer.ggml.tokens")
    if gguf.meta.get("tokenizer.ggml.model") == "bert":
        types = gguf.meta.get("tokenizer.ggml.token_type") or [0] * len(tokens)
        tokens = [_word_piece(token, kind) for token, kind in zip(tokens, types, strict=True)]
    if _is_gemma(gguf):
        # Runs of spaces are stored as spaces, unlike every other piece with a space in it.
        tokens = [SPACE * len(token) if token.startswith("  ") and not token.strip(" ") else token for token in tokens]
    if len(set(tokens)) != len(tokens):
        raise ModelCorrupt(f"{gguf.path}: the vocabulary lists {len(tokens) - len(set(tokens))} tokens twice")
    return tokens


def _word_piece(token: str, kind: int) -> str:
    """Returns a piece as tokenizers spell it: one that goes on in a word begins with ##."""
    is_special = kind in (UNKNOWN, CONTROL) or (token.startswith("[") and token.endswith("]"))
    if is_special and not token.startswith(SPACE):
        return token
    return token[1:] if token.startswith(SPACE) else f"{GOES_ON}{token}"


def _is_gemma(gguf: GgufFile) -> bool:
    return gguf.architecture.startswith("gemma")


def _pre_tokenizer_name(gguf: GgufFile) -> str:
    name = str(gguf.meta.get("tokenizer.ggml.pre") or _usual_rule(gguf))
    return SAME_PRE_TOKENIZER.get(name, name)


def _usual_rule(gguf: GgufFile) -> str:
    embedding = gguf.tensors.get("token_embd.weight")
    if gguf.architecture == "llama" and embedding is not None and embedding.shape[0] == LLAMA_3_TOKENS:
        return "llama-bpe"
    return USUAL_RULES.get(gguf.architecture, "default")


def _byte_level_bpe(gguf: GgufFile, tokens: list[str]) -> Tokenizer:
    name = _pre_tokenizer_name(gguf)
    if name not in PRE_TOKENIZERS:
        known = ", ".join(sorted([*PRE_TOKENIZERS, *SAME_PRE_TOKENIZER]))
        raise ModelUnsupported(f"{gguf.path} cuts text by the rule {name!r}", hint=f"supported rules: {known}")
    vocab = {token: index for index, token in enumerate(tokens)}
    merges = [tuple(merge.split(" ", 1)) for merge in gguf.meta.need("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=name in WHOLE_FIRST))
    if name in COMPOSED:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[name]
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _word_pieces(gguf: GgufFile, tokens: list[str]) -> Tokenizer:
    """Returns BERT's tokenizer. A file does not say whether case counts: it does where the vocabulary has capital letters."""
    ids = {token: index for index, token in enumerate(tokens)}
    cls, sep, unknown = ("bos" if token_id(gguf, "cls") is None else "cls"), "seperator", token_id(gguf, "unknown")
    first, last = (token_id(gguf, name) for name in (cls, sep))
    first, last = ids.get("[CLS]") if first is None else first, ids.get("[SEP]") if last is None else last
    unknown = ids.get("[UNK]") if unknown is None else unknown
    if first is None or last is None or unknown is None:
        raise ModelCorrupt(f"{gguf.path} names no tokens for the beginning, the end and the unknown", hint=CONVERT_AGAIN)
    types = gguf.meta.get("tokenizer.ggml.token_type") or [0] * len(tokens)
    plain = (token for token, kind in zip(tokens, types, strict=True) if kind not in (UNKNOWN, CONTROL) and token[:1] != "[")
    lower = all(token == token.lower() for token in plain)
    tokenizer = Tokenizer(models.WordPiece(vocab=ids, unk_token=tokens[unknown], max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=GOES_ON)
    one, other = tokens[first], tokens[last]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{one} $A {other}", pair=f"{one} $A {other} $B:1 {other}:1", special_tokens=[(one, first), (other, last)]
    )
    return tokenizer


def _sentencepiece_bpe(gguf: GgufFile, tokens: list[str]) -> Tokenizer:
    # Gemma's scores say nothing; its pieces stand in the order in which they were learned.
    ranks: Sequence[float] = range(len(tokens)) if _is_gemma(gguf) else [-s for s in gguf.meta.need("tokenizer.ggml.scores")]
    tokenizer = bpe_of_pieces(tokens, ranks, token_id(gguf, "unknown"))
    write_spaces(tokenizer, (), bool(gguf.meta.get("tokenizer.ggml.add_space_prefix", True)))
    return tokenizer


def _unigram(gguf: GgufFile, tokens: list[str]) -> Tokenizer:
    stated, unknown = gguf.meta.get, token_id(gguf, "unknown")
    types = stated("tokenizer.ggml.token_type") or [NORMAL] * len(tokens)
    scores = [float(score) for score in gguf.meta.need("tokenizer.ggml.scores")]
    charsmap = bytes(byte & 0xFF for byte in stated("tokenizer.ggml.precompiled_charsmap", ()))
    if unknown is None:
        unknown = next((i for i, kind in enumerate(types) if kind == UNKNOWN), -1)
    if unknown < 0 or len(scores) != len(tokens) or len(types) != len(tokens):
        message = f"{gguf.path} has {len(tokens)} tokens, {len(scores)} scores and {len(types)} types, or no unknown token"
        raise ModelCorrupt(message, hint=CONVERT_AGAIN)
    return PieceModel(
        tokens, scores, types, UNIGRAM, {"unk": unknown}, BYTE in types, charsmap,
        adds_prefix=bool(stated("tokenizer.ggml.add_space_prefix", True)),
        joins_spaces=bool(stated("tokenizer.ggml.remove_extra_whitespaces", True)),
    ).tokenizer(legacy=True)  # fmt: skip


def _add_special_tokens(tokenizer: Tokenizer, gguf: GgufFile, tokens: list[str]) -> None:
    """Returns the added tokens: control tokens are whole and hidden, user-defined ones whole and visible."""
    types = gguf.meta.get("tokenizer.ggml.token_type") or ()
    stored = gguf.meta.need("tokenizer.ggml.tokens")
    special, plain = [], []
    for token, spelled, kind in zip(tokens, stored, types, strict=False):
        if kind in (UNKNOWN, CONTROL):
            special.append(AddedToken(token, normalized=False, special=True))
        elif kind == USER_DEFINED and token == spelled:
            plain.append(AddedToken(token, normalized=False, special=False))
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(plain)
