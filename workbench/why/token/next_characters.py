"""The characters that may come next in a constrained text, found by trying bytes on forks of its matcher, and the words for them.

It works with every backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from workbench.grammar.matcher import Matcher
from workbench.why.words import either, quoted

MAX_TRIES = 2500
"""Bytes tried at one position; a class with more characters than this finds is called "characters beyond ASCII"."""
MAX_LISTED = 12
"""Up to this many characters are listed with the text that must follow each."""
USUAL = {chr(code) for code in range(0x20, 0x7F)} | {"\n"}
"""The characters that "any character" promises; other control characters do not count."""


@dataclass(frozen=True)
class NextCharacters:
    """The characters that the grammar allows at one position."""

    characters: frozenset[str]
    """All of them; if `has_others`, those of ASCII and a few more."""
    has_others: bool
    """True if there are more characters beyond ASCII than are listed."""
    is_end: bool
    """True if the text may end here."""
    texts: tuple[str, ...] = ()
    """If few characters may come: each with the text that must follow it, in order."""
    refused: str = ""
    """A character that was tried and may not come."""

    @property
    def words(self) -> tuple[str, ...]:
        """The alternatives in words: `0-9`, `"."`, `the end of the text`."""
        if self.has_long_texts:
            return (*map(quoted, self.texts), *self.end)
        return (*self._classes(), *self.end)

    @property
    def has_long_texts(self) -> bool:
        """True if the texts give more than their first characters."""
        return bool(self.texts) and (len(self.texts) <= 4 or all(len(text) > 1 for text in self.texts))

    @property
    def end(self) -> tuple[str, ...]:
        """The words for the end of the text, if it may come."""
        return ("the end of the text",) if self.is_end else ()

    def _classes(self) -> list[str]:
        """Returns the characters as ranges; nearly all of them as "any character except"."""
        ascii_part = {char for char in self.characters if char.isascii()}
        missing = sorted(USUAL - ascii_part)
        not_this = [self.refused] if self.refused and not self.refused.isascii() and self.has_others else []
        if len(missing) <= MAX_LISTED:
            kind, missing = "any character" if self.has_others else "any ASCII character", missing + not_this
            words = [f"{kind} except {either(map(quoted, missing))}" if missing else kind]
            return words + ([] if self.has_others else [quoted(char) for char in sorted(self.characters - ascii_part)])
        listed = sorted(ascii_part if self.has_others else self.characters)
        words = [part for low, high in _ranges(listed) for part in _range(low, high)]
        return [*words, f"{'other ' * bool(not_this)}characters beyond ASCII"] if self.has_others else words

    def __str__(self) -> str:
        return either(self.words)


def next_characters(matcher: Matcher, begun: bytes = b"", refused: str = "") -> NextCharacters:
    """Returns the characters that may come next. Reads only.

    `begun` holds the bytes of an unfinished character that the matcher has just passed.
    """
    found: set[str] = set()
    is_all = True
    tries = 0
    for tries, char in _characters(matcher, begun):
        if char is not None:
            found.add(char)
        if tries > MAX_TRIES:
            is_all = False
            break
    beyond = sorted(char for char in found if not char.isascii())
    if len(beyond) > 64:
        is_all, found = False, found - set(beyond[3:])
    texts: tuple[str, ...] = ()
    if is_all and len(found) <= MAX_LISTED:
        texts = tuple(_with_forced(matcher, char, begun) for char in sorted(found))
    return NextCharacters(frozenset(found), not is_all, matcher.is_complete and not begun, texts, refused)


def _characters(matcher: Matcher, begun: bytes) -> Iterator[tuple[int, str | None]]:
    """Yields (number of bytes tried, a character that may come or None), ASCII first."""
    tries = 0
    open_ends = [(begun, matcher)]
    while open_ends:
        so_far, at = open_ends.pop()
        for byte in range(0x80) if not so_far else ():
            tries += 1
            if at.fork().accept_bytes(bytes([byte])):
                yield tries, chr(byte)
        for byte in range(0xF4, 0xC1, -1) if not so_far else range(0xBF, 0x7F, -1):
            tries += 1
            fork = at.fork()
            if fork.accept_bytes(bytes([byte])):
                longer = so_far + bytes([byte])
                try:
                    yield tries, longer.decode()
                except UnicodeDecodeError:
                    if len(longer) < 4:
                        open_ends.append((longer, fork))
        yield tries, None


def _with_forced(matcher: Matcher, char: str, begun: bytes) -> str:
    fork = matcher.fork()
    fork.accept_bytes(char.encode()[len(begun) :])
    return char + fork.forced().decode("utf-8", "ignore")


def _ranges(chars: list[str]) -> Iterator[tuple[str, str]]:
    """Yields the ranges of neighbours of one kind: digits, capitals, small letters, other."""
    start = 0
    for i in range(1, len(chars) + 1):
        if i == len(chars) or ord(chars[i]) != ord(chars[i - 1]) + 1 or _kind(chars[i]) != _kind(chars[i - 1]):
            yield chars[start], chars[i - 1]
            start = i


def _kind(char: str) -> int:
    return char.isdigit() + 2 * (char.isascii() and char.islower()) + 4 * (char.isascii() and char.isupper())


def _range(low: str, high: str) -> list[str]:
    if ord(high) - ord(low) >= 2 and (low.isalnum() or not low.isascii()):
        return [f"{low}-{high}"]
    return [quoted(chr(code)) for code in range(ord(low), ord(high) + 1)]
