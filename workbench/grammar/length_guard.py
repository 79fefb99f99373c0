"""Limits of JSON strings that are counted beside the grammar, so that it needs no state for every number of characters.

xgrammar makes a mask for each state when that is first reached, which takes milliseconds: with a state for each of 200
characters, a text would wait for 200 masks. So the grammar of such a string has no limit (`schema.forms.String`). A guard follows
the text, and removes the tokens from each mask that would make the string too long.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from workbench.grammar.mask import Mask, pack
from workbench.grammar.schema.scalars import LONG
from workbench.grammar.schema.write_ebnf import LIMIT

QUOTE, BACKSLASH = b'"', b"\\"
_MARK = LIMIT.encode()
_GOES_ON = bytes(range(0x80, 0xC0))
"""Continuation bytes of a character in UTF-8."""


class TokenLengths:
    """The length that each token adds to a JSON string, for one vocabulary."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self._num_chars = np.array([_num_chars(piece) for piece in pieces], dtype=np.int32)
        self._num_bytes = np.array(list(map(len, pieces)), dtype=np.int32)
        self.longest = int(self._num_bytes.max(initial=0))
        self._within = lru_cache(2 * self.longest + 16)(self._make_within)
        never = [_MARK in piece or len(piece.partition(QUOTE)[2]) > LONG for piece in pieces]
        self.possible = pack(~np.array(never, dtype=bool))
        """Tokens that may come at all: not those that no JSON text holds, nor those that open a string and could exceed its
        limit."""

    def within(self, left: int, owed: int) -> Mask:
        """Returns the tokens that add at most `left` characters before the string's end. Inside a character of which `owed` bytes
        are missing, each further byte counts as a character."""
        return self._within(left, owed)

    def _make_within(self, left: int, owed: int) -> Mask:
        return pack(self._num_bytes <= left + owed if owed else self._num_chars <= left)


def _num_chars(piece: bytes) -> int:
    """Returns the number of characters that begin in a piece before a quote ends the string."""
    if BACKSLASH not in piece:
        return len(piece.partition(QUOTE)[0].translate(None, _GOES_ON))
    lexer = _Lexer(is_inside=True)
    return sum(lexer.move(byte) for byte in piece if lexer.is_inside)


class _Lexer:
    """A position in a JSON text: inside a string or not, and inside a character or not."""

    def __init__(self, *, is_inside: bool = False) -> None:
        self.is_inside = is_inside
        self.owed = 0
        """Bytes of the current character that are missing."""
        self.escape = b""
        """Characters of the current escape after its backslash."""

    def move(self, byte: int) -> bool:
        """Moves past a byte. Returns whether a character of a string begins here."""
        if self.owed:
            self._go_on(byte)
            return False
        if byte == QUOTE[0]:
            self.is_inside = not self.is_inside
            return False
        if self.is_inside:
            self.owed = 1 if byte == BACKSLASH[0] else (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
            self.escape = b""
        return self.is_inside and not 0x80 <= byte < 0xC0

    def _go_on(self, byte: int) -> None:
        self.owed -= 1
        self.escape += bytes([byte])
        if self.escape == b"u":
            self.owed = 4
        elif len(self.escape) == 5 and self.escape[:3].lower() in (b"ud8", b"ud9", b"uda", b"udb"):
            self.owed, self.escape = 6, b""  # a surrogate: the escape of the second one follows


class LengthGuard(_Lexer):
    """Counts the characters in the strings of one sequence."""

    def __init__(self, lengths: TokenLengths) -> None:
        super().__init__()
        self._lengths = lengths
        self._left: int | None = None
        """Characters that the string may still get; None for any number."""

    def copy(self) -> LengthGuard:
        return copy.copy(self)

    @property
    def is_full(self) -> bool:
        """True if only the string's end may come next."""
        return self._left == 0 and not self.owed

    def narrow(self, mask: Mask) -> None:
        """Removes the tokens from a mask that would make a string too long."""
        mask &= self._lengths.possible
        if self._left is not None and self._left < self._lengths.longest:
            mask &= self._lengths.within(self._left, self.owed)

    def after(self, token_id: int, matcher: Any) -> LengthGuard | None:
        """Returns the guard behind a token; None if its length is not allowed. `matcher` is before the token and stays there."""
        new = self.copy()
        piece, at = self._lengths.pieces[token_id], 0
        for i, byte in enumerate(piece):
            if not new.allows(byte):
                return None
            if byte == QUOTE[0] and not new.is_inside:
                matcher = matcher.fork()
                if not matcher.accept_string(piece[at : i + 1]):
                    return None
                at = i + 1
            new.move(byte, matcher)
        return new

    def allows(self, byte: int) -> bool:
        return byte != _MARK[0] and (not self.is_full or byte == QUOTE[0])

    def move(self, byte: int, matcher: Any = None) -> bool:
        """Moves past a byte; `matcher` is behind it if it opens a string. Returns whether a character of a string begins."""
        was_inside, begins = self.is_inside, super().move(byte)
        if self.is_inside != was_inside:
            self._left = _limit_at(matcher) if self.is_inside else None
        elif begins and self._left is not None:
            self._left -= 1
        return begins


def _limit_at(matcher: Any) -> int | None:
    """Returns the limit of the string that has just begun. The grammar states it behind the mark."""
    fork = matcher.fork()
    if not fork.accept_string(_MARK):
        return None
    return int(fork.find_jump_forward_string().partition(">")[0][1:])
