"""Random texts that a reader's masks allow: a walk that takes any allowed token, and tends to close what is open."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from workbench.bench.schemas.readers import Mask, Position
from workbench.grammar import Vocabulary
from workbench.grammar.mask import unpack

MAX_TOKENS = 240
END = 0.4
"""Probability that a walk ends where it may."""


class Walker:
    """Walks of one vocabulary. Every other walk picks the first byte before the token: so rare bytes are seen."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        pieces = vocabulary.pieces
        self.pieces, self.size = pieces, vocabulary.size
        self.stop = frozenset(vocabulary.eos_token_ids)
        self._first = np.array([data[0] if data else -1 for data in pieces], dtype=np.int16)
        self._closing = np.array([_closing(data) for data in pieces], dtype=np.int16)
        self.mask: Mask = np.zeros((vocabulary.size + 31) // 32, dtype=np.int32)

    def draw(self, position: Position, rng: random.Random, *, by_byte: bool) -> bytes | None:
        """Returns a complete text, or None if the walk was too long."""
        text = b""
        for num in range(MAX_TOKENS):
            position.fill(self.mask)
            allowed = self.allowed()
            may_end = any(i in self.stop for i in allowed[-8:]) or any(i in self.stop for i in allowed[:8])
            allowed = allowed[self._first[allowed] >= 0]
            if (may_end and rng.random() < END) or not len(allowed):
                return text if position.is_complete else None
            token = self._pick(allowed, rng, by_byte, num / MAX_TOKENS)
            if not position.take(token):
                raise RuntimeError(f"token {token} is in the mask after {text!r} and is not accepted")
            text += self.pieces[token]
        return None

    def allowed(self) -> Any:
        return np.flatnonzero(unpack(self.mask, self.size))

    def _pick(self, allowed: Any, rng: random.Random, by_byte: bool, progress: float) -> int:
        chance = rng.random()
        if chance < 0.1 + progress:
            scores = self._closing[allowed]
            best = allowed[scores == scores.max()] if chance < progress / 2 else allowed[scores > 0]
            allowed = best if len(best) else allowed
        elif by_byte:
            first = self._first[allowed]
            allowed = allowed[first == rng.choice(np.unique(first).tolist())]
        return int(allowed[rng.randrange(len(allowed))])


def _closing(data: bytes) -> int:
    closed = 2 * (data.count(b"}") + data.count(b"]")) + data.count(b'"')
    return closed - 3 * (data.count(b"{") + data.count(b"[")) - data.count(b",")
