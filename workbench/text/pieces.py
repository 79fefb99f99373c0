"""Tokenizers of the two usual kinds, made of a list of tokens: SentencePiece's pieces, and byte-level tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SPACE = "\u2581"  # how SentencePiece writes a space
_PRINTED = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTE_LETTERS = {byte: chr(byte) for byte in _PRINTED} | {
    byte: chr(256 + i) for i, byte in enumerate(byte for byte in range(256) if byte not in _PRINTED)
}
"""The letter that a byte-level vocabulary writes for each byte."""


class NotCopied:
    """Hands a tokenizer to transformers, which would write it out and read it again, a second for a large vocabulary."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __deepcopy__(self, memo: dict[int, Any]) -> Tokenizer:
        return self._tokenizer


def bpe_of_pieces(tokens: Sequence[str], ranks: Sequence[float], unknown: int | None, byte_fallback: bool = True) -> Tokenizer:
    """Returns SentencePiece's BPE, whose merges are implied: any two pieces that join to a third, lowest rank first."""
    return Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=implied_merges(tokens, ranks),
            unk_token=None if unknown is None else tokens[unknown],
            fuse_unk=True,
            byte_fallback=byte_fallback,
        )
    )


def implied_merges(tokens: Sequence[str], ranks: Sequence[float]) -> list[tuple[str, str]]:
    """Returns every pair of pieces that joins to a piece, by the rank of the result (lowest first), longer left side first."""
    vocab = set(tokens)
    ordered = [tokens[index] for index in sorted(range(len(tokens)), key=ranks.__getitem__)]
    cuts = ((piece, cut) for piece in ordered for cut in range(len(piece) - 1, 0, -1))
    return [(left, right) for piece, cut in cuts if (right := piece[cut:]) in vocab and (left := piece[:cut]) in vocab]


def write_spaces(tokenizer: Tokenizer, before: Sequence[Any], prefix: bool, only_first: bool = False) -> None:
    """Changes: spaces are part of the pieces. With `prefix` a text begins with one, which its decoding leaves out;
    with `only_first` a text behind a special token does not. `before` are the normalizers that come first."""
    to_piece = normalizers.Replace(" ", SPACE)
    if prefix and only_first:
        tokenizer.normalizer = normalizers.Sequence(list(before)) if before else None
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="first", split=False)
    else:
        steps = [*before, *([normalizers.Prepend(SPACE)] if prefix else []), to_piece]
        tokenizer.normalizer = normalizers.Sequence(steps) if len(steps) > 1 else to_piece
    to_text = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*to_text, *([decoders.Strip(" ", 1, 0)] if prefix else [])])


def bpe_of_bytes(tokens: Mapping[bytes, int], pattern: str, more: Mapping[str, int] | None = None) -> Tokenizer:
    """Returns a byte-level BPE whose tokens merge in the order of their ids, in the pieces of text that a pattern cuts.

    `more` has tokens that stand among these and merge with none.
    """
    spelled = {"".join(BYTE_LETTERS[byte] for byte in token): index for token, index in tokens.items()}
    merges = implied_merges(list(spelled), list(spelled.values()))
    tokenizer = Tokenizer(models.BPE(vocab=spelled | dict(more or {}), merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def add_tokens(tokenizer: Tokenizer, tokens: Mapping[str, int], *, special: bool) -> str | None:
    """Changes: these tokens are found whole in a text; special ones are no part of it, nor words of longer ones.
    Returns one whose id is not the wanted."""
    added = [
        AddedToken(token, normalized=False, special=special, single_word=special and token.isalpha())
        for token in sorted(tokens, key=tokens.__getitem__)
    ]
    tokenizer.add_special_tokens(added) if special else tokenizer.add_tokens(added)
    return next((token for token, index in tokens.items() if tokenizer.token_to_id(token) != index), None)


def surround(tokenizer: Tokenizer, before: Sequence[str], after: Sequence[str]) -> None:
    """Changes: these special tokens stand before and after every text."""
    one, other = [*before, "$A", *after], [*before, "$B:1", *after]
    special = [(token, tokenizer.token_to_id(token)) for token in dict.fromkeys([*before, *after])]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(one), pair=" ".join([*one, *other]), special_tokens=special
    )
