"""Compilations in child processes, where they can be stopped: each has a time and a memory limit.

A running compilation cannot be ended in a thread, and some take minutes or all the memory. A child that breaks a limit, or
crashes, is killed; the next job starts a new one. Children start when there is work for them and then stay.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from workbench.errors import SHUT_DOWN, EngineDead, InvalidRequest, WorkbenchError
from workbench.grammar.messages import OUT_OF_MEMORY, Reply, Setup, receive, send
from workbench.types import GrammarSpec

TICK_S = 0.02
"""Interval at which a child's time and memory are checked."""
START_S = 60.0
HINT = "counts such as {1,1000} and long lists of alternatives cost most; allow less, or raise the limit"


@dataclass(frozen=True)
class Limits:
    num_workers: int = 2
    timeout_s: float = 30.0
    """For one compilation, not counting the wait for a free child."""
    memory_mb: int = 2048
    """Limit on a child's memory, some 60 MB of its own included."""


@dataclass(eq=False)
class _Job:
    spec: GrammarSpec
    future: Future[Reply] = field(default_factory=Future)
    is_unwanted: bool = False


class CompilePool:
    """Any thread may submit. `make_setup` is called once, when the first child starts."""

    def __init__(self, make_setup: Callable[[], Setup], limits: Limits) -> None:
        self._make_setup, self._limits = make_setup, limits
        self._setup: Setup | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._open: set[_Job] = set()
        self._threads: list[threading.Thread] = []
        self._children: set[_Child] = set()
        self._is_closed = False
        self._lock = threading.Lock()

    def submit(self, spec: GrammarSpec) -> Future[Reply]:
        """Compiles when a child is free. The future's error is a WorkbenchError about the constraint, or EngineDead."""
        job = _Job(spec)
        with self._lock:
            if self._is_closed:
                raise EngineDead(SHUT_DOWN)
            self._open.add(job)
            if len(self._threads) < min(len(self._open), self._limits.num_workers):
                self._threads.append(threading.Thread(target=self._work, name="workbench-compile", daemon=True))
                self._threads[-1].start()
        self._jobs.put(job)
        return job.future

    def give_up(self, future: Future[Reply]) -> None:
        """Cancels a job without waiters: removes it from the queue, or kills its child."""
        with self._lock:
            for job in self._open:
                job.is_unwanted |= job.future is future

    @property
    def pids(self) -> list[int]:
        """The children that run now."""
        return [child.process.pid for child in list(self._children)]

    def close(self) -> None:
        """Returns when all children are gone. What is still asked ends with EngineDead."""
        with self._lock:
            self._is_closed = True
            for job in self._open:
                job.is_unwanted = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _work(self) -> None:
        child: _Child | None = None
        while (job := self._jobs.get()) is not None:
            try:
                if job.is_unwanted:
                    raise EngineDead(SHUT_DOWN)
                if child is None:
                    child = self._start()
                answer = child.compile(job, self._limits)
                if answer == OUT_OF_MEMORY:
                    raise too_large(job.spec, self._limits)
                error = None if answer.failure is None else answer.failure.to_error()
            except BaseException as caught:  # whoever waits for it must not wait for ever
                error = caught  # type: ignore[assignment]
            if child is not None and child.process.poll() is not None:
                child.kill()  # closes its files
                self._children.discard(child)
                child = None
            with self._lock:
                self._open.discard(job)
            if error is None:
                job.future.set_result(answer)
            else:
                job.future.set_exception(error)
            del job, error
        if child is not None:
            child.kill()
            self._children.discard(child)

    def _start(self) -> _Child:
        with self._lock:
            if self._setup is None:
                self._setup = self._make_setup()
        child = _Child(self._setup)
        self._children.add(child)
        return child


class _Child:
    """One process, used by one thread."""

    def __init__(self, setup: Setup) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workbench.grammar.compile_child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, start_new_session=True,
        )  # fmt: skip
        self._why = ""
        late = time.monotonic() + START_S
        try:
            with self._watched(lambda: "it did not start in time" if time.monotonic() > late else ""):
                send(self._stdin, setup)
                receive(self._stdout, Reply)
        except (EOFError, OSError) as error:
            self.process.kill()
            why = self._why or self._last_words()
            self.kill()
            raise WorkbenchError(f"the process that compiles constraints cannot start: {why}") from error

    def compile(self, job: _Job, limits: Limits) -> Reply:
        """Raises a WorkbenchError about the constraint if the child had to be killed, or crashed."""
        watched = psutil.Process(self.process.pid)
        late, most = time.monotonic() + limits.timeout_s, limits.memory_mb << 20

        def broken() -> str:
            if job.is_unwanted:
                return "unwanted"
            if time.monotonic() > late:
                return "time"
            return "memory" if watched.memory_info().rss > most else ""

        try:
            with self._watched(broken):
                send(self._stdin, job.spec)
                answer: Reply = receive(self._stdout, Reply)
            if not self._why:
                return answer
        except (EOFError, OSError):
            pass
        self.kill()
        if self._why == "unwanted":
            raise EngineDead(SHUT_DOWN)
        if self._why == "time":
            raise InvalidRequest(
                job.spec.kind, job.spec.text,
                f"a constraint that compiles in {limits.timeout_s:g} s (grammar_compile_timeout_s)", hint=HINT,
            )  # fmt: skip
        if self._why == "memory":
            raise too_large(job.spec, limits)
        ending = f"a constraint that its compiler survives (it ended with exit code {self.process.returncode})"
        raise InvalidRequest(job.spec.kind, job.spec.text, ending, hint="nest it less deeply, or make it smaller")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._errors):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    @contextmanager
    def _watched(self, broken: Callable[[], str]) -> Iterator[None]:
        """Kills the child as soon as `broken()` returns a reason while the block runs; reading from it then finds its end."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(TICK_S):
                with contextlib.suppress(psutil.Error):
                    self._why = broken()
                if self._why:
                    self.process.kill()
                    return

        self._why = ""
        thread = threading.Thread(target=watch, name="workbench-compile-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), f"exit code {self.process.poll()}")

    @property
    def _stdin(self):  # type: ignore[no-untyped-def]
        return self.process.stdin

    @property
    def _stdout(self):  # type: ignore[no-untyped-def]
        return self.process.stdout


def too_large(spec: GrammarSpec, limits: Limits) -> InvalidRequest:
    limit = f"a constraint that compiles in {limits.memory_mb:,} MB of memory (grammar_compile_memory_mb)"
    return InvalidRequest(spec.kind, spec.text, limit, hint=HINT)
