"""`Underway`: the calls that are being made ready, whose requests the engine does not have yet."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Underway:
    """Request ids on their way to an engine, and those of them that were aborted. Any thread may use it.

    An engine ignores an abort of an id that it does not have, so one that comes while a prompt is tokenised is kept here.
    """

    def __init__(self) -> None:
        self._rids: Counter[str] = Counter()
        self._aborted: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def of(self, rids: Sequence[str]) -> Iterator[None]:
        """Returns a context in which these ids are on their way; an id may be in several."""
        with self._lock:
            self._rids.update(rids)
        try:
            yield
        finally:
            with self._lock:
                self._rids.subtract(rids)
                over = {rid for rid in rids if self._rids[rid] <= 0}
                self._aborted -= over
                for rid in over:
                    del self._rids[rid]

    def abort(self, rid: str) -> None:
        """Notes an abort; it is forgotten where the id is not on its way."""
        with self._lock:
            if rid in self._rids:
                self._aborted.add(rid)

    def aborted(self, rids: Sequence[str]) -> list[str]:
        """Returns those of the ids that were aborted."""
        with self._lock:
            return [rid for rid in rids if rid in self._aborted]
