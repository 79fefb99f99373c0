"""Why a token may or may not come at a place of a constrained text, and how far a stored text follows its constraint."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.errors import InvalidRequest
from workbench.grammar.matcher import CompiledGrammar, Matcher
from workbench.grammar.vocabulary import Vocabulary
from workbench.types import GrammarSpec
from workbench.why.expected import Expected, expected
from workbench.why.location import Place, find_place, json_words

NUM_NEAREST = 5
MAX_COMPARED = 400
"""Tokens whose likeness is measured, of those that share the longest beginning."""


@dataclass(frozen=True)
class Verdict:
    """What follows of `data` after `before`."""

    num_fit: int
    """Bytes of `data` that the grammar takes."""
    expected: Expected
    """At the first character that does not fit, or after all of it."""
    place: Place | None
    is_complete: bool
    """Whether all of it fits and the text may end there."""

    @property
    def words(self) -> tuple[str, ...]:
        """What was expected; in JSON a whole value or property at a time."""
        if self.place is not None and self.place.path and self.expected.is_told_by_texts:
            return (*json_words(self.expected.texts, self.place), *self.expected.end)
        return self.expected.words


def judge(spec: GrammarSpec, grammar: CompiledGrammar, before: bytes, data: bytes) -> Verdict:
    """How far `data` is allowed after `before`. Raises InvalidRequest where `before` is not allowed itself."""
    matcher = _at(grammar, before)
    num_fit = matcher.accept_bytes(data)
    whole = before + data
    passed = len(before) + num_fit
    # Whole characters are told, so from the start of the one that fails; but what stood there before stays.
    start = passed - len(_unfinished(whole[:passed]))
    at = passed if num_fit == len(data) else max(start, len(before))
    refused = whole[start:].decode("utf-8", "replace")[:1] if num_fit < len(data) else ""
    told = expected(_at(grammar, whole[:at]), whole[start:at], refused)
    place = find_place(spec, whole[:start].decode("utf-8", "replace"))
    return Verdict(num_fit, told, place, num_fit == len(data) and matcher.is_complete)


def allowed_tokens(grammar: CompiledGrammar, vocabulary: Vocabulary, before: bytes) -> frozenset[int]:
    """Ids, stop tokens included."""
    return frozenset(np.flatnonzero(allowed_mask(_at(grammar, before), vocabulary.size)).tolist())


def nearest(vocabulary: Vocabulary, allowed: frozenset[int], data: bytes) -> tuple[int, ...]:
    """Of the allowed tokens those most like `data`: with the longest common beginning, then the likeliest mistaken for it."""
    spelled = vocabulary.pieces
    wanted = data.decode("utf-8", "replace").lower()
    texts = ((token, spelled[token]) for token in allowed if spelled[token])
    ranked = sorted((-_shared(text, data), abs(len(text) - len(data)), token) for token, text in texts)

    def unlike(entry: tuple[int, int, int]) -> tuple[int, float, int]:
        text = spelled[entry[2]].decode("utf-8", "replace").lower()
        return entry[0], -difflib.SequenceMatcher(None, text, wanted).ratio(), entry[2]

    return tuple(token for _, _, token in sorted(ranked[:MAX_COMPARED], key=unlike)[:NUM_NEAREST])


def _at(grammar: CompiledGrammar, before: bytes) -> Matcher:
    matcher = grammar.start()
    num_fit = matcher.accept_bytes(before)
    if num_fit < len(before):
        text = before.decode("utf-8", "replace")
        good = before[:num_fit].decode("utf-8", "replace")
        raise InvalidRequest("text", text, f"a beginning the constraint allows (only {good!r} is)", hint="replay() says more")
    return matcher


def allowed_mask(matcher: Matcher, size: int) -> np.ndarray[Any, Any]:
    """bool [V]: tokens that may come next, stop tokens included."""
    mask = np.zeros(-(-size // 32), dtype=np.int32)
    matcher.fill_mask(mask)
    return np.unpackbits(mask.view(np.uint8), bitorder="little")[:size].astype(bool)


def _unfinished(data: bytes) -> bytes:
    """The last bytes that make no whole character yet."""
    for length in range(1, min(4, len(data) + 1)):
        byte = data[-length]
        if byte < 0x80:
            return b""
        if byte >= 0xC0:
            return data[-length:] if length < (4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2) else b""
    return b""


def _shared(a: bytes, b: bytes) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
