"""How often threads of this process take turns, while an engine steps in it.

One number rules all threads (`sys.setswitchinterval`). A short one lets an engine go on beside a busy cell; but it also cuts
the short work of other threads to pieces, so such work asks not to be divided. Measured on two cores: beside a cell that
computes, an engine keeps 18 % of its rate at 0.1 ms and 9 % at 0.5 ms; a round of all views takes 2.5 ms of processor and 3 of
the clock undivided, 4 and 9 in pieces of 0.1 ms.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

QUICK_S = 0.0001
UNDIVIDED_S = 0.005
"""Longer than a round of all views takes."""

_lock = threading.Lock()
_inside: list[float] = []
_usual = 0.0


@contextmanager
def switching(interval: float) -> Iterator[None]:
    """`QUICK_S` or `UNDIVIDED_S`: the longest of those inside is in force; after the last of them what was before."""
    global _usual
    with _lock:
        if not _inside:
            _usual = sys.getswitchinterval()
        _inside.append(interval)
        sys.setswitchinterval(max(_inside))
    try:
        yield
    finally:
        with _lock:
            _inside.remove(interval)
            sys.setswitchinterval(max(_inside, default=_usual))
