"""Constraints through xgrammar: JSON Schema, regular expressions and EBNF in the dialect of GGML BNF."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xgrammar

from workbench.grammar.matcher import MAX_FORCED, Made, TokenRejected
from workbench.grammar.plain import Plain
from workbench.grammar.vocabulary import Vocabulary
from workbench.grammar.xgrammar_compile import RULES, compile_plain
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

    def check(self, plain: Plain, spec: GrammarSpec) -> bool:
        return True

    def compile(self, plain: Plain, spec: GrammarSpec) -> XGrammarCompiled:
        return self._made(compile_plain(self._compiler, plain, spec), plain.unenforced)

    def load(self, data: bytes, unenforced: tuple[str, ...]) -> XGrammarCompiled:
        text = data[1:].decode()
        if data[:1] == RULES:
            return self._made(self._compiler.compile_grammar(xgrammar.Grammar.from_ebnf(text)), unenforced)
        return self._made(xgrammar.CompiledGrammar.deserialize_json(text, self._info), unenforced)

    def about(self) -> bytes:
        return self._info.serialize_json().encode()

    def _made(self, compiled: xgrammar.CompiledGrammar, unenforced: tuple[str, ...]) -> XGrammarCompiled:
        return XGrammarCompiled(compiled, self._vocab_size, self._eos_token_ids, unenforced)


class XGrammarCompiled:
    def __init__(
        self, compiled: xgrammar.CompiledGrammar, vocab_size: int, eos_token_ids: frozenset[int], unenforced: tuple[str, ...] = ()
    ) -> None:
        self._compiled = compiled
        self._vocab_size, self._eos_token_ids = vocab_size, eos_token_ids
        self.unenforced = unenforced

    @property
    def num_bytes(self) -> int:
        size: int = self._compiled.memory_size_bytes
        return size

    def start(self, stop_token_ids: Iterable[int] | None = None) -> XGrammarMatcher:
        wanted = self._eos_token_ids if stop_token_ids is None else stop_token_ids
        stop = frozenset(i for i in wanted if i < self._vocab_size)
        matcher = xgrammar.GrammarMatcher(self._compiled, override_stop_tokens=sorted(stop) or None)
        return XGrammarMatcher(matcher, self._vocab_size, stop, self.unenforced)


class XGrammarMatcher:
    def __init__(
        self, matcher: xgrammar.GrammarMatcher, vocab_size: int, stop_token_ids: frozenset[int], unenforced: tuple[str, ...]
    ) -> None:
        self.made: Made | None = None
        self.unenforced = unenforced
        self._matcher = matcher
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

    def _mask(self) -> np.ndarray[Any, Any]:
        """Not to be written to."""
        if self._filled is None:
            mask = np.empty(-(-self._vocab_size // 32), dtype=np.int32)
            self.fill_mask(mask)
            self._filled = mask
        return self._filled

    def accept(self, token_id: int) -> None:
        self._filled = None
        if not self._matcher.accept_token(token_id):
            raise TokenRejected(f"token {token_id} is not allowed by the grammar here, {self.num_allowed} others are")

    def accept_bytes(self, data: bytes) -> int:
        self._filled = None
        return next((i for i in range(len(data)) if not self._matcher.accept_string(data[i : i + 1])), len(data))

    def forced(self) -> bytes:
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
        for i in self._stop_token_ids:
            mask.view(np.uint32)[i // 32] &= ~np.uint32(1 << i % 32)
        return not mask.any()

    @property
    def num_allowed(self) -> int:
        return int(np.bitwise_count(self._mask().view(np.uint32)).sum())

    def fork(self) -> XGrammarMatcher:
        return XGrammarMatcher(self._matcher.fork(), self._vocab_size, self._stop_token_ids, self.unenforced)
