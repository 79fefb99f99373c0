"""Reads `tokenizer.model`, the file of a SentencePiece model. Its format is Protocol Buffers, of which few parts are needed."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers

from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.text.pieces import add_tokens, bpe_of_pieces, write_spaces

UNIGRAM, BPE = 1, 2
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class PieceModel:
    """The content of the file."""

    tokens: list[str]
    scores: list[float]
    types: list[int]
    kind: int
    """`UNIGRAM` or `BPE`."""
    ids: dict[str, int]
    """Ids of `unk`, `bos`, `eos` and `pad`; -1 where there is none."""
    byte_fallback: bool
    charsmap: bytes
    """Table of characters that are written another way; empty for none."""
    adds_prefix: bool
    """True: a text begins with a space."""
    joins_spaces: bool
    """True: spaces at both ends vanish, and several become one."""

    def special(self, name: str) -> str | None:
        """Returns the token that stands for `bos` and the like."""
        index = self.ids[name]
        return self.tokens[index] if 0 <= index < len(self.tokens) else None

    def renamed(self, names: Mapping[int, str]) -> PieceModel:
        """Returns the content with other names for some pieces: so InternLM 2 names unused ones."""
        tokens, types = [*self.tokens], [*self.types]
        for index, name in names.items():
            if index < len(tokens) and name not in self.tokens:
                tokens[index], types[index] = name, NORMAL
        return replace(self, tokens=tokens, types=types)

    def tokenizer(self, *, legacy: bool) -> Tokenizer:
        """Returns the tokenizer; with `legacy` a text behind a special token begins with a space too."""
        before: list[Any] = [normalizers.Precompiled(self.charsmap)] if self.charsmap else []
        if self.joins_spaces:
            before += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
        if self.kind == BPE:
            made = bpe_of_pieces(self.tokens, [-score for score in self.scores], self.ids["unk"], self.byte_fallback)
        else:
            vocabulary = list(zip(self.tokens, self.scores, strict=True))
            made = Tokenizer(models.Unigram(vocabulary, unk_id=self.ids["unk"], byte_fallback=self.byte_fallback))
        write_spaces(made, before, self.adds_prefix, only_first=not legacy)
        for kind in (CONTROL, UNKNOWN), (USER_DEFINED,):
            ids = {token: i for i, (token, each) in enumerate(zip(self.tokens, self.types, strict=True)) if each in kind}
            add_tokens(made, ids, special=USER_DEFINED not in kind)
        return made


def read_piece_model(path: Path) -> PieceModel:
    """Returns the content of the file. Raises ModelCorrupt, ModelUnsupported."""
    try:
        return _read(path)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ModelCorrupt(f"{path} is no whole SentencePiece model ({error})", hint="copy the file again") from None


def _read(path: Path) -> PieceModel:
    pieces: list[dict[int, Any]] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _fields(path.read_bytes()):
        if number == 1:
            pieces.append(dict(_fields(value)))
        elif number == 2:
            trainer = dict(_fields(value))
        elif number == 3:
            normalizer = dict(_fields(value))
    kind = trainer.get(3, UNIGRAM)
    if not pieces or kind not in (UNIGRAM, BPE):
        raise ModelUnsupported(f"{path} is no SentencePiece model of the kind BPE or Unigram", hint="save it as tokenizer.json")
    usual = {"unk": 0, "bos": 1, "eos": 2, "pad": -1}
    return PieceModel(
        tokens=[piece.get(1, b"").decode() for piece in pieces],
        scores=[_float(piece.get(2, b"\0\0\0\0")) for piece in pieces],
        types=[piece.get(3, NORMAL) for piece in pieces],
        kind=kind,
        ids={name: _signed(trainer.get(40 + i, usual[name])) for i, name in enumerate(usual)},
        byte_fallback=bool(trainer.get(35, 0)),
        charsmap=normalizer.get(2, b""),
        adds_prefix=bool(normalizer.get(3, 1)),
        joins_spaces=bool(normalizer.get(4, 1)),
    )


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yields (number, value) of a message's fields: whole numbers as int, all else as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(wire, 0)
        if wire == BYTES:
            size, at = _varint(data, at)
        elif not size:
            raise IndexError(f"field of the unknown kind {wire}")
        if at + size > len(data):
            raise IndexError(f"it ends within a field of {size} bytes")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _float(value: bytes) -> float:
    found: float = struct.unpack("<f", value)[0]
    return found
