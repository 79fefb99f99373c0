"""Draws random texts from a constraint, to find where a stop string would cut them and how long a mask takes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.grammar.mask import allowed_flags
from workbench.grammar.matcher import CompiledGrammar, Matcher
from workbench.grammar.vocabulary import Vocabulary

NUM_WALKS = 24
NUM_TIMED, TIMED_S = 4, 0.5
MAX_TOKENS = 80
CLOSING = (b'"', b"}", b"]", b'"}', b'"]', b"}}", b")", b".", b"\n")


@dataclass(frozen=True)
class Cut:
    """The effect of a stop string on the drawn texts."""

    num_finished: int
    num_cut: int
    """Finished texts that contain it before they are complete."""
    witness: bytes | None
    """An incomplete text after which it may come."""


Walk = tuple[bool, list[tuple[bytes, Matcher]]]
"""(whether the text came to its end, each beginning of it with the matcher there)."""


def cut_by(grammar: CompiledGrammar, drawn: Sequence[Walk], stop: str) -> Cut:
    """Returns the effect of a stop string."""
    data = stop.encode("utf-8", "replace")
    num_finished = num_cut = 0
    witness: bytes | None = None
    for is_finished, trail in drawn:
        text = trail[-1][0]
        for so_far, matcher in trail:
            if (witness is None or len(so_far) < len(witness)) and not matcher.is_complete:
                witness = so_far if matcher.fork().accept_bytes(data) == len(data) else witness
        num_finished += is_finished
        num_cut += is_finished and any(not _is_complete(grammar, text[:i]) for i in _occurrences(text, data))
    return Cut(num_finished, num_cut, witness)


def walks(grammar: CompiledGrammar, vocabulary: Vocabulary, seed: int = 0) -> Iterator[Walk]:
    """Yields texts of random tokens; tokens that close something are preferred, so that most texts end."""
    draw, spelled = random.Random(seed), vocabulary.pieces
    has_text = np.array([bool(data) for data in spelled])
    closes = np.array([data in CLOSING for data in spelled])
    for _ in range(NUM_WALKS):
        matcher, text = grammar.start(), b""
        trail = [(text, matcher.fork())]
        while len(trail) <= MAX_TOKENS:
            if matcher.is_complete and (matcher.is_finished or draw.random() < 0.5):
                break
            allowed = allowed_flags(matcher, vocabulary.size) & has_text
            closing = np.flatnonzero(allowed & closes)
            ids = closing if len(closing) and draw.random() < 0.4 else np.flatnonzero(allowed)
            if not len(ids):
                break
            token = int(ids[draw.randrange(len(ids))])
            matcher.accept(token)
            text += spelled[token]
            trail.append((text, matcher.fork()))
        yield matcher.is_complete, trail


def mask_seconds(grammar: CompiledGrammar, vocabulary: Vocabulary, seed: int = 0) -> float:
    """Returns the mean seconds for a mask in random texts that go on as long as they can."""
    draw, spelled = random.Random(seed), vocabulary.pieces
    has_text = np.array([bool(data) for data in spelled])
    spent, num = 0.0, 0
    for _ in range(NUM_TIMED):
        matcher = grammar.start()
        for _ in range(MAX_TOKENS):
            began = time.perf_counter()
            allowed = allowed_flags(matcher, vocabulary.size)
            spent, num = spent + time.perf_counter() - began, num + 1
            ids = np.flatnonzero(allowed & has_text)
            if not len(ids) or spent > TIMED_S:
                break
            matcher.accept(int(ids[draw.randrange(len(ids))]))
    return spent / num


def _occurrences(text: bytes, data: bytes) -> Iterator[int]:
    at = text.find(data)
    while at >= 0:
        yield at
        at = text.find(data, at + 1)


def _is_complete(grammar: CompiledGrammar, text: bytes) -> bool:
    matcher = grammar.start()
    matcher.accept_bytes(text)
    return matcher.is_complete
