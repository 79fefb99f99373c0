"""The one way to every backend: a constraint in, its compiled form out, now or soon. Compiled forms are cached."""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeVar
from weakref import WeakKeyDictionary

from workbench.config import home
from workbench.errors import Aborted, InvalidRequest, NotSupported
from workbench.grammar.effort import OutOfEffort, effort
from workbench.grammar.matcher import CompiledGrammar, Made, Matcher
from workbench.grammar.messages import Reply, Setup
from workbench.grammar.normalise import QUICK_CHARS, QUICK_EFFORT, Plain, is_quick, plain
from workbench.grammar.pool import CompilePool, Limits
from workbench.grammar.vocabulary import Vocabulary
from workbench.types import GrammarSpec

T = TypeVar("T")
CACHE_BYTES = 256 << 20
"""Compiled grammars of one vocabulary above this lose the least recently used."""


class Backend(Protocol):
    """A compiler of plain constraints for one vocabulary. Safe to use from several threads."""

    def check(self, plain: Plain, spec: GrammarSpec) -> bool:
        """Returns whether a constraint compiles in a fraction of a second, as far as the backend can see. Quick itself.

        Raises NotSupported for what this backend cannot do, with the name of one that can.
        """

    def compile(self, plain: Plain, spec: GrammarSpec) -> CompiledGrammar:
        """Compiles on the caller's thread."""

    def load(self, data: bytes, unenforced: tuple[str, ...]) -> CompiledGrammar:
        """Returns the compiled form that a child process has sent."""

    def about(self) -> bytes:
        """Returns the data that the backend's compiler in a child process needs."""


@dataclass(frozen=True)
class Options:
    """Settings of an engine's compiler."""

    backend: str = "xgrammar"
    limits: Limits = field(default_factory=Limits)
    whitespace_pattern: str | None = None
    """outlines: a regex for the white space between two parts of a JSON text."""
    disk_cache: bool = True
    """outlines: keep automata under WORKBENCH_HOME."""


@dataclass
class _Entry:
    future: Future[CompiledGrammar] = field(default_factory=Future)
    num_waiting: int = 0
    job: Future[Reply] | None = None
    made: Made | None = None
    num_bytes: int = 0
    """When it was last asked for: what keeps its masks grows."""


class GrammarCompiler:
    """Safe to use from several threads; two that ask for one specification at once compile it once.

    Plainly small constraints are compiled on the caller's thread, all others in a child process with limits.
    """

    def __init__(self, vocabulary: Vocabulary, options: Options | None = None, max_bytes: int = CACHE_BYTES) -> None:
        self._vocabulary: Vocabulary | None = vocabulary
        self._options = options or Options()
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._entries: OrderedDict[GrammarSpec, _Entry] = OrderedDict()
        self._opened: tuple[Backend, CompilePool] | None = None
        self._has_children = False
        self._num_bytes = 0

    def get(self, spec: GrammarSpec) -> CompiledGrammar:
        """Waits for it. Raises InvalidRequest for what is no such constraint, NotSupported for what cannot be enforced."""
        return self._later(spec, lambda compiled, made: compiled).result()

    def start(self, spec: GrammarSpec, stop_token_ids: Iterable[int] | None = None) -> Future[Matcher]:
        """Returns a matcher at the beginning of the constraint; done already where it was small, known or refused.

        Cancel the future when it is not needed any more: a compilation without waiters is stopped.
        """

        def begin(compiled: CompiledGrammar, made: Made | None) -> Matcher:
            matcher = compiled.start(stop_token_ids)
            matcher.made = made
            return matcher

        return self._later(spec, begin)

    @property
    def num_bytes(self) -> int:
        """Size of the cache. Each entry counts with its size at the last request for it."""
        return self._num_bytes

    @property
    def pids(self) -> list[int]:
        """Children that compile, or wait for work."""
        return [] if self._opened is None else self._opened[1].pids

    def close(self) -> None:
        """Ends the child processes. Waiters get EngineDead."""
        with self._lock:
            opened = self._opened
        if opened is not None:
            opened[1].close()

    def _later(self, spec: GrammarSpec, finish: Callable[[CompiledGrammar, Made | None], T]) -> Future[T]:
        with self._lock:
            entry = self._entries.get(spec)
            is_new = entry is None
            if entry is None:
                entry = self._entries[spec] = _Entry()
            self._entries.move_to_end(spec)
            entry.num_waiting += 1
            is_cached = entry.future.done()
            if is_cached:
                self._weigh(spec, entry)
        mine: Future[T] = Future()

        def settle(compiled: Future[CompiledGrammar]) -> None:
            if mine.set_running_or_notify_cancel():
                try:
                    made = entry.made and replace(entry.made, is_cached=is_cached)
                    mine.set_result(finish(compiled.result(), made))
                except BaseException as error:
                    mine.set_exception(error)

        if is_new:
            self._begin(spec, entry)
        entry.future.add_done_callback(settle)
        mine.add_done_callback(lambda _: self._leave(spec, entry))
        return mine

    def _leave(self, spec: GrammarSpec, entry: _Entry) -> None:
        """Counts a waiter out that is done or cancelled. When the last one leaves, cancels the unfinished compilation."""
        with self._lock:
            entry.num_waiting -= 1
            if entry.num_waiting or entry.future.done() or entry.job is None or self._opened is None:
                return
            if self._entries.get(spec) is entry:
                del self._entries[spec]
            pool = self._opened[1]
        pool.give_up(entry.job)

    def _begin(self, spec: GrammarSpec, entry: _Entry) -> None:
        try:
            backend, pool = self._open()
            began = time.perf_counter()
            compiled = _quickly(backend, spec)
            took_s = time.perf_counter() - began
            if compiled is None:
                if not self._has_children:
                    self._has_children = True
                    weakref.finalize(self, pool.close)
                entry.job = pool.submit(spec)
        except BaseException as error:
            self._fail(spec, entry, error)
            return
        if compiled is not None:
            self._end(spec, entry, "thread", lambda: compiled, took_s)
        elif entry.job is not None:
            self._end_with(spec, entry, backend, entry.job)

    def _end_with(self, spec: GrammarSpec, entry: _Entry, backend: Backend, job: Future[Reply]) -> None:
        """Ends a compilation when its child has answered."""

        def load(job: Future[Reply]) -> None:
            seconds = 0.0 if job.exception() else job.result().seconds
            self._end(spec, entry, "child", lambda: backend.load(job.result().data, job.result().unenforced), seconds)

        job.add_done_callback(load)

    def _end(
        self, spec: GrammarSpec, entry: _Entry, where: Literal["thread", "child"], make: Callable[[], CompiledGrammar],
        seconds: float = 0.0,
    ) -> None:  # fmt: skip
        """Ends a compilation on which `seconds` were spent before."""
        began = time.perf_counter()
        try:
            compiled = make()
            if not compiled.start().num_allowed:
                raise InvalidRequest(spec.kind, spec.text, "a constraint that some text satisfies")
        except BaseException as error:  # whoever waits for it must not wait for ever
            self._fail(spec, entry, error)
            return
        entry.made = Made(self._options.backend, where, seconds + time.perf_counter() - began, compiled.num_bytes)
        entry.future.set_result(compiled)
        with self._lock:
            self._weigh(spec, entry)

    def _weigh(self, spec: GrammarSpec, entry: _Entry) -> None:
        """Counts a compiled entry at its present size and evicts the least recently used above the limit. Needs the lock."""
        if self._entries.get(spec) is not entry:
            return
        num_bytes = entry.future.result().num_bytes
        self._num_bytes += num_bytes - entry.num_bytes
        entry.num_bytes = num_bytes
        while self._num_bytes > self._max_bytes and len(self._entries) > 1:
            oldest = next(iter(self._entries))
            if not self._entries[oldest].future.done():
                break
            self._num_bytes -= self._entries.pop(oldest).num_bytes

    def _fail(self, spec: GrammarSpec, entry: _Entry, error: BaseException) -> None:
        """Gives the error to all waiters. An interrupt is raised again, on the one thread that it came to."""
        with self._lock:
            if self._entries.get(spec) is entry:
                del self._entries[spec]
        if isinstance(error, Exception):
            entry.future.set_exception(error)
            return
        entry.future.set_exception(Aborted("the compilation of this constraint was interrupted"))
        raise error

    def _open(self) -> tuple[Backend, CompilePool]:
        """Returns the backend and opens it at the first call. Drops the vocabulary then, whose life must not depend on this
        object."""
        with self._lock:
            if self._opened is None:
                assert self._vocabulary is not None
                backend = open_backend(self._vocabulary, self._options)
                name, most = self._options.backend, self._options.limits.memory_mb << 20
                pool = CompilePool(lambda: Setup(name, backend.about(), most), self._options.limits)
                self._vocabulary, self._opened = None, (backend, pool)
            return self._opened


def _quickly(backend: Backend, spec: GrammarSpec) -> CompiledGrammar | None:
    """Returns the constraint compiled on this thread, or None where that may take longer than a caller's thread should."""
    try:
        with effort(QUICK_EFFORT):
            if len(spec.text) > QUICK_CHARS[spec.kind]:
                return None
            read = plain(spec)  # what is refused is refused at once
            return backend.compile(read, spec) if backend.check(read, spec) and is_quick(spec) else None
    except OutOfEffort:
        return None


def open_backend(vocabulary: Vocabulary, options: Options) -> Backend:
    if options.backend == "xgrammar":
        from workbench.grammar.xgrammar_backend import XGrammarBackend

        return XGrammarBackend(vocabulary)
    if options.backend == "outlines":
        from workbench.grammar.outlines_backend import OutlinesBackend

        return OutlinesBackend(vocabulary, options.whitespace_pattern, home() / "outlines" if options.disk_cache else None)
    raise NotSupported(f"there is no grammar backend {options.backend!r}", hint="use xgrammar or outlines")


def compile_grammar(spec: GrammarSpec, vocabulary: Vocabulary, backend: str = "xgrammar") -> CompiledGrammar:
    """Returns the constraint ready for this vocabulary, with the default limits; kept for as long as the vocabulary is.

    Raises InvalidRequest for what is no such constraint, NotSupported for what cannot be enforced.
    """
    with _LOCK:
        compilers = _COMPILERS.setdefault(vocabulary, {})
        if backend not in compilers:
            compilers[backend] = GrammarCompiler(vocabulary, Options(backend))
    return compilers[backend].get(spec)


_LOCK = threading.Lock()
_COMPILERS: WeakKeyDictionary[Vocabulary, dict[str, GrammarCompiler]] = WeakKeyDictionary()
