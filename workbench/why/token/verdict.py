"""Judges a text against its constraint, byte by byte: how far it fits, and what may come where it does not."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np

from workbench.errors import InvalidRequest
from workbench.grammar.mask import allowed_flags
from workbench.grammar.matcher import CompiledGrammar, Matcher
from workbench.grammar.vocabulary import Vocabulary
from workbench.types import GrammarSpec
from workbench.why.token.json_place import continuations
from workbench.why.token.next_characters import NextCharacters, next_characters
from workbench.why.token.place import Place, find_place

NUM_NEAREST = 5
MAX_COMPARED = 400
"""Tokens that are compared in full: those with the longest common beginning."""


@dataclass(frozen=True)
class Verdict:
    """The result of `judge`: how far `data` fits after `before`."""

    num_fit: int
    """Bytes of `data` that the grammar allows."""
    expected: NextCharacters
    """The characters that may stand at the first one that does not fit, or after all of `data`."""
    place: Place | None
    is_complete: bool
    """True if all of it fits and the text may end there."""

    @property
    def words(self) -> tuple[str, ...]:
        """The expected characters in words; in JSON a whole value or property at a time."""
        place = self.place
        if place is not None and place.path and self.expected.has_long_texts:
            return (*continuations(self.expected.texts, place.key, place.in_string), *self.expected.end)
        return self.expected.words


def judge(spec: GrammarSpec, grammar: CompiledGrammar, before: bytes, data: bytes) -> Verdict:
    """Returns how far `data` is allowed after `before`. Raises InvalidRequest if `before` itself is not allowed."""
    matcher = _at(grammar, before)
    num_fit = matcher.accept_bytes(data)
    whole = before + data
    passed = len(before) + num_fit
    # The answer names whole characters, so it starts at the first byte of the one that fails, but not before `data`.
    start = passed - len(_unfinished(whole[:passed]))
    at = passed if num_fit == len(data) else max(start, len(before))
    refused = whole[start:].decode("utf-8", "replace")[:1] if num_fit < len(data) else ""
    found = next_characters(_at(grammar, whole[:at]), whole[start:at], refused)
    place = find_place(spec, whole[:start].decode("utf-8", "replace"))
    return Verdict(num_fit, found, place, num_fit == len(data) and matcher.is_complete)


def allowed_tokens(grammar: CompiledGrammar, vocabulary: Vocabulary, before: bytes) -> frozenset[int]:
    """Returns the ids that may come after `before`, stop tokens included."""
    return frozenset(np.flatnonzero(allowed_flags(_at(grammar, before), vocabulary.size)).tolist())


def nearest(vocabulary: Vocabulary, allowed: frozenset[int], data: bytes) -> tuple[int, ...]:
    """Returns the allowed tokens most like `data`: those with the longest common beginning, then the most similar."""
    spelled = vocabulary.pieces
    wanted = data.decode("utf-8", "replace").lower()
    texts = ((token, spelled[token]) for token in allowed if spelled[token])
    ranked = sorted((-_shared(text, data), abs(len(text) - len(data)), token) for token, text in texts)

    def unlike(entry: tuple[int, int, int]) -> tuple[int, float, int]:
        text = spelled[entry[2]].decode("utf-8", "replace").lower()
        return entry[0], -difflib.SequenceMatcher(None, text, wanted).ratio(), entry[2]

    return tuple(token for _, _, token in sorted(ranked[:MAX_COMPARED], key=unlike)[:NUM_NEAREST])


def _at(grammar: CompiledGrammar, before: bytes) -> Matcher:
    """Returns a matcher after `before`."""
    matcher = grammar.start()
    num_fit = matcher.accept_bytes(before)
    if num_fit < len(before):
        text = before.decode("utf-8", "replace")
        good = before[:num_fit].decode("utf-8", "replace")
        raise InvalidRequest(
            "text", text, f"a beginning the constraint allows (only {good!r} is)", hint="replay(text) shows the place"
        )
    return matcher


def _unfinished(data: bytes) -> bytes:
    """Returns the last bytes if they are an unfinished character."""
    for length in range(1, min(4, len(data) + 1)):
        byte = data[-length]
        if byte < 0x80:
            return b""
        if byte >= 0xC0:
            return data[-length:] if length < (4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2) else b""
    return b""


def _shared(a: bytes, b: bytes) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
