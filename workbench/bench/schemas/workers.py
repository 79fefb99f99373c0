"""Cases measured by several processes, each with a time limit: some readers need minutes for a schema, or crash."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from workbench.bench.schemas.measure import Measure, Row, bare_row
from workbench.bench.schemas.readers import open_reader
from workbench.bench.schemas.sets import Case
from workbench.grammar import Vocabulary

MEMORY_BYTES = 6 << 30


class Worker:
    """A process that measures one case after the other. It is forked, so the vocabulary is there already."""

    def __init__(self, reader: str, vocabulary: Vocabulary, num_draws: int, seed: int) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        args = (theirs, self.pipe, reader, vocabulary, num_draws, seed)
        self._process = context.Process(target=_serve, args=args)
        self._process.start()
        theirs.close()
        self.case: Case | None = None
        self.row: Row = {}
        self._asked = 0.0

    def ask(self, case: Case, reader: str) -> None:
        self.case, self._asked = case, time.monotonic()
        self.row = bare_row(reader, case)
        self.pipe.send(case)

    def left(self, limit_s: float) -> float:
        return max(0.0, self._asked + limit_s - time.monotonic())

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def measure_all(
    cases: Sequence[Case], reader: str, vocabulary: Vocabulary, *, processes: int, limit_s: float, num_draws: int, seed: int
) -> Iterator[Row]:
    """Yields a row of each case, in the order in which they finish."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # it is used on both sides of a fork
    rest = list(reversed(cases))
    workers: list[Worker] = []

    def start() -> None:
        if rest:
            workers.append(Worker(reader, vocabulary, num_draws, seed))
            workers[-1].ask(rest.pop(), reader)

    try:
        for _ in range(processes):
            start()
        while workers:
            ready = wait([worker.pipe for worker in workers], timeout=min(worker.left(limit_s) for worker in workers))
            for worker in list(workers):
                end = _look(worker, worker.pipe in ready, limit_s)
                if end is None:
                    continue
                yield worker.row
                if end == "done" and rest:
                    worker.ask(rest.pop(), reader)
                    continue
                workers.remove(worker)
                worker.stop()
                start()
    finally:
        for worker in workers:
            worker.stop()


def _look(worker: Worker, is_ready: bool, limit_s: float) -> str | None:
    """Returns None while it works, then `done` or the reason of its end."""
    end = None
    if is_ready:
        try:
            is_done, worker.row = worker.pipe.recv()
            end = "done" if is_done else None
        except (EOFError, ConnectionError):
            end = "the process ended"
    if end is None and not worker.left(limit_s):
        end = "the time limit"
    if end not in (None, "done"):
        worker.row["cut" if worker.row["taken"] else "why"] = end
        worker.row["wait_s"] = worker.row.get("wait_s", limit_s)
    return end


def _serve(pipe: Connection, theirs: Any, reader: str, vocabulary: Vocabulary, num_draws: int, seed: int) -> None:
    import resource

    theirs.close()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    measure = Measure(reader, open_reader(reader, vocabulary), vocabulary)
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        pipe.send((True, _measured(measure, case, num_draws, seed, pipe)))


def _measured(measure: Measure, case: Case, num_draws: int, seed: int, pipe: Connection) -> Row:
    """Measures a case, and puts an unexpected error of the reader into its row."""
    row = bare_row(measure.name, case)

    def note(known: Row) -> None:
        row.update(known)
        pipe.send((False, known))

    try:
        return measure.row(case, num_draws, seed, note)
    except Exception as error:
        row["cut" if row["taken"] else "why"] = f"{type(error).__name__}: {error}"[:300]
        return {"wait_s": 0.0, **row}
