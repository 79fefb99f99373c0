"""Constraints through xgrammar: JSON Schema, regular expressions and EBNF in the dialect of GGML BNF."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xgrammar

from workbench.grammar.length_guard import QUOTE, LengthGuard, TokenLengths
from workbench.grammar.mask import allow, empty_mask, num_allowed
from workbench.grammar.matcher import MAX_FORCED, Made, TokenRejected
from workbench.grammar.normalise import Plain
from workbench.grammar.vocabulary import Vocabulary
from workbench.grammar.xgrammar_compile import COUNTED, RULES, compile_plain
from workbench.types import GrammarSpec

CACHE_BYTES = 128 << 20
"""Masks of rules that several grammars share, such as those of strings, are kept up to this size."""


class XGrammarBackend:
    """Compiles for one vocabulary; safe to use from several threads. A mask is made when its place is first reached."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._info = vocabulary.info
        self._compiler = xgrammar.GrammarCompiler(
            self._info, max_threads=2, cache_limit_bytes=CACHE_BYTES, enable_dynamic_compilation=True
        )
        self._vocab_size, self._eos_token_ids = vocabulary.size, vocabulary.eos_token_ids
        self._pieces = vocabulary.pieces
        self._token_lengths: TokenLengths | None = None

    def check(self, plain: Plain, spec: GrammarSpec) -> bool:
        return True

    def compile(self, plain: Plain, spec: GrammarSpec) -> XGrammarCompiled:
        lengths = self._lengths() if plain.schema is not None and plain.schema.has_limits else None
        return self._made(compile_plain(self._compiler, plain, spec), plain.unenforced, lengths)

    def load(self, data: bytes, unenforced: tuple[str, ...]) -> XGrammarCompiled:
        text = data[1:].decode()
        if data[:1] in (RULES, COUNTED):
            lengths = self._lengths() if data[:1] == COUNTED else None
            return self._made(self._compiler.compile_grammar(xgrammar.Grammar.from_ebnf(text)), unenforced, lengths)
        return self._made(xgrammar.CompiledGrammar.deserialize_json(text, self._info), unenforced)

    def about(self) -> bytes:
        return self._info.serialize_json().encode()

    def _lengths(self) -> TokenLengths:
        if self._token_lengths is None:
            self._token_lengths = TokenLengths(self._pieces)
        return self._token_lengths

    def _made(
        self, compiled: xgrammar.CompiledGrammar, unenforced: tuple[str, ...], lengths: TokenLengths | None = None
    ) -> XGrammarCompiled:
        return XGrammarCompiled(compiled, self._vocab_size, self._eos_token_ids, unenforced, lengths)


class XGrammarCompiled:
    def __init__(
        self, compiled: xgrammar.CompiledGrammar, vocab_size: int, eos_token_ids: frozenset[int],
        unenforced: tuple[str, ...] = (), lengths: TokenLengths | None = None,
    ) -> None:  # fmt: skip
        self._compiled = compiled
        self._vocab_size, self._eos_token_ids = vocab_size, eos_token_ids
        self._lengths = lengths
        self.unenforced = unenforced

    @property
    def num_bytes(self) -> int:
        size: int = self._compiled.memory_size_bytes
        return size

    def start(self, stop_token_ids: Iterable[int] | None = None) -> XGrammarMatcher:
        wanted = self._eos_token_ids if stop_token_ids is None else stop_token_ids
        stop = frozenset(i for i in wanted if i < self._vocab_size)
        matcher = xgrammar.GrammarMatcher(self._compiled, override_stop_tokens=sorted(stop) or None)
        guard = None if self._lengths is None else LengthGuard(self._lengths)
        return XGrammarMatcher(matcher, self._vocab_size, stop, self.unenforced, guard)


class XGrammarMatcher:
    def __init__(
        self, matcher: xgrammar.GrammarMatcher, vocab_size: int, stop_token_ids: frozenset[int],
        unenforced: tuple[str, ...], guard: LengthGuard | None = None,
    ) -> None:  # fmt: skip
        self.made: Made | None = None
        self.unenforced = unenforced
        self._matcher = matcher
        self._guard = guard
        """Counts the characters of strings, where the grammar leaves that to it."""
        self._vocab_size = vocab_size
        self._stop_token_ids = stop_token_ids
        self._filled: np.ndarray[Any, Any] | None = None
        """The mask of this place, once asked for: jump-forward asks before the sampler does."""

    def fill_mask(self, mask: np.ndarray[Any, Any]) -> None:
        if self._filled is not None:
            mask[:] = self._filled
        elif self._matcher.is_terminated():
            mask[:] = 0
        else:
            self._matcher.fill_next_token_bitmask(mask[None])
            if rest := self._vocab_size % 32:  # xgrammar sets the bits after the last token
                mask[-1] &= (1 << rest) - 1
            if self._guard is not None:
                self._guard.narrow(mask)

    def _mask(self) -> np.ndarray[Any, Any]:
        """Returns the mask of this place. Do not write to it."""
        if self._filled is None:
            mask = empty_mask(self._vocab_size)
            self.fill_mask(mask)
            self._filled = mask
        return self._filled

    def accept(self, token_id: int) -> None:
        guard = self._guard
        if guard is not None and token_id not in self._stop_token_ids:
            guard = guard.after(token_id, self._matcher)
        if (guard is None and self._guard is not None) or not self._matcher.accept_token(token_id):
            raise TokenRejected(f"token {token_id} is not allowed by the grammar here, {self.num_allowed} others are")
        self._filled, self._guard = None, guard

    def accept_bytes(self, data: bytes) -> int:
        self._filled = None
        for i in range(len(data)):
            if self._guard is not None and not self._guard.allows(data[i]):
                return i
            if not self._matcher.accept_string(data[i : i + 1]):
                return i
            if self._guard is not None:
                self._guard.move(data[i], self._matcher)
        return len(data)

    def forced(self) -> bytes:
        if self._guard is not None and self._guard.is_full:
            behind = self.fork()
            return (QUOTE + behind.forced())[:MAX_FORCED] if behind.accept_bytes(QUOTE) else b""
        try:
            return self._matcher.find_jump_forward_string().encode()[:MAX_FORCED]
        except UnicodeDecodeError as error:  # it begins or ends inside a character
            return bytes(error.object)[:MAX_FORCED]

    @property
    def is_complete(self) -> bool:
        return self._matcher.is_terminated() or self._matcher.is_completed()

    @property
    def is_finished(self) -> bool:
        if self._matcher.is_terminated():
            return True
        if not self._matcher.is_completed():
            return False
        mask = self._mask()
        if np.count_nonzero(mask) > len(self._stop_token_ids):
            return False
        mask = mask.copy()
        allow(mask, self._stop_token_ids, False)
        return not mask.any()

    @property
    def num_allowed(self) -> int:
        return num_allowed(self._mask())

    def fork(self) -> XGrammarMatcher:
        guard = None if self._guard is None else self._guard.copy()
        return XGrammarMatcher(self._matcher.fork(), self._vocab_size, self._stop_token_ids, self.unenforced, guard)
