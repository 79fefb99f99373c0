"""The backend `outlines`: regular constraints as automata over bytes, with masks made when a state is first reached."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from workbench.grammar.automaton import DEAD, Array, Automaton
from workbench.grammar.mask import allow, empty_mask, num_allowed, pack
from workbench.grammar.matcher import MAX_FORCED, Made, TokenRejected
from workbench.grammar.normalise import Plain
from workbench.grammar.outlines_compile import About, compile_regex, to_regex
from workbench.grammar.vocabulary import Vocabulary
from workbench.types import GrammarSpec

QUICK_CHARS, QUICK_COUNT = 128, 8
"""Limits for the caller's thread. An automaton can have two to the power of a regex's length of states."""
MASKS_KEPT = 2048


class Tokens:
    """All tokens of a vocabulary as bytes, for one pass over all of them."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocab_size = vocabulary.size
        self.bytes = vocabulary.pieces
        self.ids = np.array([i for i, data in enumerate(self.bytes) if data], dtype=np.int64)
        self._lengths = np.array([len(self.bytes[i]) for i in self.ids])
        self._table = np.zeros((int(self._lengths.max()), len(self.ids)), dtype=np.uint8)
        for column, i in enumerate(self.ids):
            self._table[: len(self.bytes[i]), column] = np.frombuffer(self.bytes[i], dtype=np.uint8)

    def mask(self, automaton: Automaton, state: int) -> Array:
        """Returns the tokens whose bytes the automaton can read from `state`, int32 [ceil(V / 32)]."""
        allowed = np.zeros(self.vocab_size, dtype=np.bool_)
        classes = automaton.class_of[self._table[0]]
        states = automaton.next[state][classes]
        (left,) = np.nonzero(states != DEAD)
        states, length = states[left], 1
        while len(left):
            ends = self._lengths[left] == length
            allowed[self.ids[left[ends]]] = True
            left, states = left[~ends], states[~ends]
            if len(left):
                states = automaton.next[states, automaton.class_of[self._table[length, left]]]
                lives = states != DEAD
                left, states, length = left[lives], states[lives], length + 1
        return pack(allowed)


class OutlinesBackend:
    """Compiles for one vocabulary; safe to use from several threads."""

    def __init__(self, vocabulary: Vocabulary, whitespace_pattern: str | None, folder: Path | None) -> None:
        self._tokens = Tokens(vocabulary)
        self._eos_token_ids = vocabulary.eos_token_ids
        self._about = About(whitespace_pattern, None if folder is None else str(folder))

    def check(self, plain: Plain, spec: GrammarSpec) -> bool:
        regex = to_regex(plain, self._about.whitespace_pattern)
        counts = (int(part.partition("}")[0].split(",")[-1] or 0) for part in regex.split("{")[1:] if part[:1].isdigit())
        return len(regex) <= QUICK_CHARS and max(counts, default=0) <= QUICK_COUNT

    def compile(self, plain: Plain, spec: GrammarSpec) -> OutlinesCompiled:
        regex = to_regex(plain, self._about.whitespace_pattern)
        return self.load(compile_regex(regex, spec, self._about.folder), plain.unenforced)

    def load(self, data: bytes, unenforced: tuple[str, ...]) -> OutlinesCompiled:
        return OutlinesCompiled(Automaton.from_bytes(data), self._tokens, self._eos_token_ids, unenforced)

    def about(self) -> bytes:
        return msgspec.msgpack.encode(self._about)


class OutlinesCompiled:
    def __init__(
        self, automaton: Automaton, tokens: Tokens, eos_token_ids: frozenset[int], unenforced: tuple[str, ...] = ()
    ) -> None:
        self.automaton, self.tokens, self.unenforced = automaton, tokens, unenforced
        self._eos_token_ids = eos_token_ids
        self._masks: dict[int, Array] = {}

    @property
    def num_bytes(self) -> int:
        return self.automaton.num_bytes + sum(mask.nbytes for mask in list(self._masks.values()))

    def start(self, stop_token_ids: Iterable[int] | None = None) -> OutlinesMatcher:
        ids = self._eos_token_ids if stop_token_ids is None else stop_token_ids
        return OutlinesMatcher(self, frozenset(i for i in ids if i < self.tokens.vocab_size))

    def mask(self, state: int) -> Array:
        """Returns the mask of a state. It is shared: do not write to it."""
        mask = self._masks.get(state)
        if mask is None:
            if len(self._masks) >= MASKS_KEPT:
                self._masks.pop(next(iter(self._masks)), None)
            mask = self._masks[state] = self.tokens.mask(self.automaton, state)
        return mask


class OutlinesMatcher:
    def __init__(self, compiled: OutlinesCompiled, stop_token_ids: frozenset[int], state: int = 0, ended: bool = False) -> None:
        self.made: Made | None = None
        self.unenforced = compiled.unenforced
        self._compiled, self._stop_token_ids = compiled, stop_token_ids
        self._state, self._ended = state, ended

    def fill_mask(self, mask: Array) -> None:
        mask[:] = 0 if self._ended else self._compiled.mask(self._state)
        if not self._ended:
            allow(mask, self._stop_token_ids, bool(self._compiled.automaton.is_final[self._state]))

    def accept(self, token_id: int) -> None:
        automaton, is_stop = self._compiled.automaton, token_id in self._stop_token_ids
        data = self._compiled.tokens.bytes[token_id] if 0 <= token_id < self._compiled.tokens.vocab_size else b""
        state, length = automaton.after(self._state, data)
        fits = bool(automaton.is_final[self._state]) if is_stop else bool(data) and length == len(data)
        if self._ended or not fits:
            raise TokenRejected(f"token {token_id} is not allowed by the grammar here, {self.num_allowed} others are")
        if is_stop:
            self._ended = True
        else:
            self._state = state

    def accept_bytes(self, data: bytes) -> int:
        if self._ended:
            return 0
        self._state, length = self._compiled.automaton.after(self._state, data)
        return length

    def forced(self) -> bytes:
        return b"" if self._ended else self._compiled.automaton.forced(self._state, MAX_FORCED)

    @property
    def is_complete(self) -> bool:
        return self._ended or bool(self._compiled.automaton.is_final[self._state])

    @property
    def is_finished(self) -> bool:
        if self._ended or not self.is_complete:
            return self._ended
        return self.num_allowed == len(self._stop_token_ids)

    @property
    def num_allowed(self) -> int:
        mask = empty_mask(self._compiled.tokens.vocab_size)
        self.fill_mask(mask)
        return num_allowed(mask)

    def fork(self) -> OutlinesMatcher:
        return OutlinesMatcher(self._compiled, self._stop_token_ids, self._state, self._ended)
