"""Runs many programs at once, in threads: shows progress, counts failures, and ends all programs on an interrupt."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from workbench.errors import InvalidRequest
from workbench.lang.run_state import RunState
from workbench.lang.source_line import caller, warn_at

MAX_THREADS = 64
BAR_INTERVAL_S = 0.1
BAR_WIDTH = 30


class ProgramFailed(UserWarning):
    """Some programs of a batch failed; reading their states raises the errors."""


def run_all(runs: Sequence[RunState], bodies: Sequence[Callable[[], Any]], *, num_threads: int | str, progress_bar: bool) -> None:
    """Runs every body and returns when all have ended. An interrupt aborts all open runs and is raised at once.

    Raises InvalidRequest for a wrong number of threads. Warns if programs have failed.
    """
    if num_threads != "auto" and (isinstance(num_threads, bool) or not isinstance(num_threads, int) or num_threads < 1):
        raise InvalidRequest("num_threads", num_threads, "'auto' or an integer of at least 1")
    count = min(len(runs), MAX_THREADS if num_threads == "auto" else int(num_threads))
    bar = Bar(len(runs)) if progress_bar else None
    pool = ThreadPoolExecutor(count, thread_name_prefix="workbench-batch")
    try:
        for future in as_completed([pool.submit(body) for body in bodies]):
            future.result()
            if bar is not None:
                bar.advance()
    except BaseException:
        for run in runs:
            run.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        if bar is not None:
            bar.close()
    pool.shutdown()
    failures = [run.failure for run in runs if run.failure is not None]
    if failures:
        first = str(failures[0]).partition("\n")[0]
        warn_at(f"{len(failures)} of {len(runs)} programs failed; the first: {first}", ProgramFailed, caller())


class Bar:
    """A progress bar on stderr, one line, redrawn at most ten times a second."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._drawn_at = total, 0, 0.0
        self._started = time.monotonic()
        self._draw()

    def advance(self) -> None:
        self._done += 1
        if time.monotonic() - self._drawn_at >= BAR_INTERVAL_S:
            self._draw()

    def close(self) -> None:
        self._draw()
        sys.stderr.write("\n")

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        filled = BAR_WIDTH * self._done // self._total
        line = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {self._done}/{self._total} programs"
        sys.stderr.write(f"\r{line}, {self._drawn_at - self._started:.1f} s")
        sys.stderr.flush()
