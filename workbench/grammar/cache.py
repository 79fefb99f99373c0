"""Compiled constraints, kept by vocabulary and specification: the one door to every backend."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from workbench.errors import NotSupported
from workbench.grammar.matcher import CompiledGrammar
from workbench.grammar.vocabulary import Vocabulary
from workbench.types import GrammarSpec

if TYPE_CHECKING:
    from workbench.grammar.xgrammar_backend import XGrammarBackend

CACHE_BYTES = 256 << 20
"""Compiled grammars of one vocabulary above this lose the least recently used."""


def compile_grammar(spec: GrammarSpec, vocabulary: Vocabulary, backend: str = "xgrammar") -> CompiledGrammar:
    """The constraint ready for this vocabulary. Takes its time on the caller's thread, the first time only.

    Raises InvalidRequest for what is no such constraint, NotSupported for what cannot be enforced.
    """
    with _LOCK:
        cache = _CACHES.get(vocabulary)
        if cache is None:
            cache = _CACHES[vocabulary] = GrammarCache(vocabulary, backend)
    return cache.get(spec)


class GrammarCache:
    """Safe to use from several threads; two that ask for one specification at once compile it once."""

    def __init__(self, vocabulary: Vocabulary, backend: str, max_bytes: int = CACHE_BYTES) -> None:
        self._backend = _open(backend, vocabulary)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._grammars: OrderedDict[GrammarSpec, Future[CompiledGrammar]] = OrderedDict()

    def get(self, spec: GrammarSpec) -> CompiledGrammar:
        with self._lock:
            future = self._grammars.get(spec)
            is_new = future is None
            if future is None:
                future = self._grammars[spec] = Future()
            self._grammars.move_to_end(spec)
        if is_new:
            self._compile(spec, future)
        return future.result()

    @property
    def num_bytes(self) -> int:
        return sum(future.result().num_bytes for future in self._grammars.values() if future.done())

    def _compile(self, spec: GrammarSpec, future: Future[CompiledGrammar]) -> None:
        try:
            future.set_result(self._backend.compile(spec))
        except BaseException as error:  # whoever waits for it must not wait for ever
            with self._lock:
                self._grammars.pop(spec, None)
            future.set_exception(error)
            return
        with self._lock:
            while self.num_bytes > self._max_bytes and len(self._grammars) > 1:
                oldest = next(iter(self._grammars))
                if not self._grammars[oldest].done():
                    break
                del self._grammars[oldest]


def _open(backend: str, vocabulary: Vocabulary) -> XGrammarBackend:
    if backend != "xgrammar":
        raise NotSupported(f"there is no grammar backend {backend!r}", hint="use xgrammar")
    from workbench.grammar.xgrammar_backend import XGrammarBackend

    return XGrammarBackend(vocabulary)


_LOCK = threading.Lock()
_CACHES: WeakKeyDictionary[Vocabulary, GrammarCache] = WeakKeyDictionary()
