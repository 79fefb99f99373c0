"""Constraints through xgrammar: JSON Schema, regular expressions and EBNF in the dialect of GGML BNF."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import xgrammar

from workbench.errors import InvalidRequest, WorkbenchError
from workbench.grammar.json_schema import enforceable
from workbench.grammar.matcher import TokenRejected
from workbench.grammar.regex import plain_regex
from workbench.grammar.vocabulary import Vocabulary
from workbench.types import GrammarSpec

# What xgrammar writes before each message: the time and a place in its own source.
_PREFIX = re.compile(r"^\[[\d:]+\] \S+:\d+: (Check failed: \(.*?\) is false: )?")


class XGrammarBackend:
    """Compiles for one vocabulary; safe to use from several threads."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._compiler = xgrammar.GrammarCompiler(_tokenizer_info(vocabulary), max_threads=2, cache_enabled=False)
        # Not the vocabulary itself: the cache that holds this must not keep it alive.
        self._vocab_size, self._eos_token_ids = vocabulary.size, vocabulary.eos_token_ids

    def compile(self, spec: GrammarSpec) -> XGrammarCompiled:
        """Raises InvalidRequest with the parser's message, or NotSupported for what cannot be enforced."""
        compiler = self._compiler
        try:
            if spec.kind == "regex":
                compiled = compiler.compile_regex(plain_regex(spec.text))
            elif spec.kind == "ebnf":
                compiled = compiler.compile_grammar(spec.text)
            else:
                # Fixed separators, ", " and ": ", so that the text between values is never a choice.
                compiled = compiler.compile_json_schema(enforceable(spec.text), any_whitespace=False, strict_mode=True)
        except WorkbenchError:
            raise
        except (RuntimeError, ValueError, OverflowError) as error:  # ValueError: half a character, a number of 5,000 digits
            message = _PREFIX.sub("", str(error)).strip() or "the compiler gives no reason"
            raise InvalidRequest(spec.kind, spec.text, f"a constraint that can be compiled ({message})") from None
        grammar = XGrammarCompiled(compiled, self._vocab_size, self._eos_token_ids)
        if not grammar.start().num_allowed:
            raise InvalidRequest(spec.kind, spec.text, "a constraint that some text satisfies")
        return grammar


class XGrammarCompiled:
    def __init__(self, compiled: xgrammar.CompiledGrammar, vocab_size: int, eos_token_ids: frozenset[int]) -> None:
        self._compiled = compiled
        self._vocab_size, self._eos_token_ids = vocab_size, eos_token_ids

    @property
    def num_bytes(self) -> int:
        size: int = self._compiled.memory_size_bytes
        return size

    def start(self, stop_token_ids: Iterable[int] | None = None) -> XGrammarMatcher:
        wanted = self._eos_token_ids if stop_token_ids is None else stop_token_ids
        stop = frozenset(i for i in wanted if i < self._vocab_size)
        matcher = xgrammar.GrammarMatcher(self._compiled, override_stop_tokens=sorted(stop) or None)
        return XGrammarMatcher(matcher, self._vocab_size, stop)


class XGrammarMatcher:
    def __init__(self, matcher: xgrammar.GrammarMatcher, vocab_size: int, stop_token_ids: frozenset[int]) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._stop_token_ids = stop_token_ids

    def fill_mask(self, mask: np.ndarray[Any, Any]) -> None:
        if self._matcher.is_terminated():
            mask[:] = 0
        else:
            self._matcher.fill_next_token_bitmask(mask[None])
            if rest := self._vocab_size % 32:  # xgrammar sets the bits after the last token
                mask[-1] &= (1 << rest) - 1

    def accept(self, token_id: int) -> None:
        if not self._matcher.accept_token(token_id):
            raise TokenRejected(f"token {token_id} is not allowed by the grammar here, {self.num_allowed} others are")

    def accept_bytes(self, data: bytes) -> int:
        return next((i for i in range(len(data)) if not self._matcher.accept_string(data[i : i + 1])), len(data))

    def forced(self) -> bytes:
        try:
            return self._matcher.find_jump_forward_string().encode()
        except UnicodeDecodeError as error:  # it begins or ends inside a character
            return bytes(error.object)

    @property
    def is_complete(self) -> bool:
        return self._matcher.is_terminated() or self._matcher.is_completed()

    @property
    def is_finished(self) -> bool:
        if self._matcher.is_terminated():
            return True
        if not self._matcher.is_completed():
            return False
        mask = np.zeros(-(-self._vocab_size // 32), dtype=np.int32)
        self.fill_mask(mask)
        for i in self._stop_token_ids:
            mask.view(np.uint32)[i // 32] &= ~np.uint32(1 << i % 32)
        return not mask.any()

    @property
    def num_allowed(self) -> int:
        return len(self._allowed())

    def fork(self) -> XGrammarMatcher:
        return XGrammarMatcher(self._matcher.fork(), self._vocab_size, self._stop_token_ids)

    def _allowed(self) -> list[int]:
        mask = np.zeros(-(-self._vocab_size // 32), dtype=np.int32)
        self.fill_mask(mask)
        ids: list[int] = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")[: self._vocab_size]).tolist()
        return ids


def _tokenizer_info(vocabulary: Vocabulary) -> xgrammar.TokenizerInfo:
    """The vocabulary without special tokens: their text is not part of an output, so no grammar may count on it."""
    hf = vocabulary.hf
    kind = xgrammar.TokenizerInfo.from_huggingface(hf, vocab_size=vocabulary.size, stop_token_ids=[0])
    tokens = [""] * vocabulary.size
    special = {i for i, token in hf.added_tokens_decoder.items() if token.special}
    for token, i in hf.get_vocab().items():
        if i < vocabulary.size and i not in special:
            tokens[i] = token
    # No stop tokens here: each matcher names its own.
    return xgrammar.TokenizerInfo(
        tokens, kind.vocab_type, vocab_size=vocabulary.size, stop_token_ids=[], add_prefix_space=kind.add_prefix_space
    )
