"""Readers of JSON Schema under one interface: this project's, xgrammar's own, and llguidance where it is installed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from workbench.errors import WorkbenchError
from workbench.grammar import Vocabulary
from workbench.grammar.compiler import GrammarCompiler
from workbench.types import GrammarSpec

Mask = np.ndarray[Any, np.dtype[np.int32]]


class Refused(Exception):
    """The reader does not take this schema; the message says why."""


class Position(Protocol):
    """The position of one text in its schema."""

    def fork(self) -> Position: ...

    def feed(self, data: bytes) -> bool:
        """Moves past all of `data`; returns False if it is not allowed here, which makes the position unusable."""

    def fill(self, mask: Mask) -> None: ...

    def take(self, token_id: int) -> bool: ...

    @property
    def is_complete(self) -> bool: ...


@dataclass
class Compiled:
    """A schema that was taken."""

    start: Callable[[], Position]
    compile_s: float
    """Without waiting for a process."""
    where: str = "thread"
    unenforced: tuple[str, ...] = ()


class Reader(Protocol):
    """Compiles schemas for one vocabulary."""

    def compile(self, schema: Any) -> Compiled:
        """Raises Refused."""


class Workbench:
    """This project's compiler."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._compiler = GrammarCompiler(vocabulary)
        warm = {"type": "string", "maxLength": 400}  # so that the child is there when it is measured
        self.compile({"anyOf": [warm, {"enum": ["x" * 5000]}]})

    def compile(self, schema: Any) -> Compiled:
        spec = GrammarSpec("json_schema", json.dumps(schema, ensure_ascii=False))
        try:
            matcher = self._compiler.start(spec).result()
        except WorkbenchError as error:
            raise Refused(error.message) from None
        made = matcher.made
        assert made is not None
        return Compiled(lambda: _Matcher(matcher.fork()), made.seconds, made.where, matcher.unenforced)


class _Matcher:
    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def fork(self) -> _Matcher:
        return _Matcher(self._matcher.fork())

    def feed(self, data: bytes) -> bool:
        return bool(self._matcher.accept_bytes(data) == len(data))

    def fill(self, mask: Mask) -> None:
        self._matcher.fill_mask(mask)

    def take(self, token_id: int) -> bool:
        try:
            self._matcher.accept(token_id)
        except WorkbenchError:
            return False
        return True

    @property
    def is_complete(self) -> bool:
        return bool(self._matcher.is_complete)


class XGrammar:
    """xgrammar's own reader, not strict: a property that is not listed may come, as the standard says."""

    def __init__(self, vocabulary: Vocabulary, any_whitespace: bool = False) -> None:
        import xgrammar

        self._xgrammar, self._any_whitespace = xgrammar, any_whitespace
        self._stop = sorted(vocabulary.eos_token_ids)
        self._compiler = xgrammar.GrammarCompiler(vocabulary.info, max_threads=2, cache_enabled=False)

    def compile(self, schema: Any) -> Compiled:
        began = time.perf_counter()
        try:
            compiled = self._compiler.compile_json_schema(
                json.dumps(schema, ensure_ascii=False),
                any_whitespace=self._any_whitespace,
                separators=None if self._any_whitespace else (", ", ": "),
                strict_mode=False,
            )
        except (RuntimeError, ValueError) as error:
            raise Refused(str(error)) from None
        seconds = time.perf_counter() - began
        return Compiled(lambda: _XMatcher(self._xgrammar.GrammarMatcher(compiled, override_stop_tokens=self._stop)), seconds)


class _XMatcher:
    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def fork(self) -> _XMatcher:
        return _XMatcher(self._matcher.fork())

    def feed(self, data: bytes) -> bool:
        return bool(self._matcher.accept_string(data))

    def fill(self, mask: Mask) -> None:
        self._matcher.fill_next_token_bitmask(mask.reshape(1, -1))

    def take(self, token_id: int) -> bool:
        return bool(self._matcher.accept_token(token_id))

    @property
    def is_complete(self) -> bool:
        return bool(self._matcher.is_completed())


class LLGuidance:
    """llguidance with the separators of `json.dumps`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        import llguidance
        from llguidance.hf import from_tokenizer

        self._llguidance = llguidance
        self._tokenizer = from_tokenizer(vocabulary.hf, n_vocab=vocabulary.size, eos_token=sorted(vocabulary.eos_token_ids))

    def compile(self, schema: Any) -> Compiled:
        options = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        began = time.perf_counter()
        try:
            grammar = self._llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options)
        except ValueError as error:
            raise Refused(str(error)) from None
        matcher = self._llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise Refused(matcher.get_error())
        seconds = time.perf_counter() - began
        return Compiled(lambda: _LLMatcher(matcher.deep_copy(), self._tokenizer), seconds)


class _LLMatcher:
    def __init__(self, matcher: Any, tokenizer: Any) -> None:
        self._matcher, self._tokenizer = matcher, tokenizer

    def fork(self) -> _LLMatcher:
        return _LLMatcher(self._matcher.deep_copy(), self._tokenizer)

    def feed(self, data: bytes) -> bool:
        ids = self._tokenizer.tokenize_bytes(data)
        return bool(self._matcher.try_consume_tokens(ids) == len(ids))

    def fill(self, mask: Mask) -> None:
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)

    def take(self, token_id: int) -> bool:
        return bool(self._matcher.consume_token(token_id))

    @property
    def is_complete(self) -> bool:
        return bool(self._matcher.is_accepting())


def open_reader(name: str, vocabulary: Vocabulary) -> Reader:
    """Returns a reader by its name in the command."""
    if name == "workbench":
        return Workbench(vocabulary)
    if name == "llguidance":
        return LLGuidance(vocabulary)
    return XGrammar(vocabulary, any_whitespace=name == "xgrammar-any")
