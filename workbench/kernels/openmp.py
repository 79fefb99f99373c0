"""Sets how long the threads of a parallel region spin before they release their core."""

from __future__ import annotations

import os

SPINS = "3000"
"""About 0.1 ms. GNU OpenMP spins for milliseconds, which costs nothing on an idle machine. Beside a browser or another
busy process the core that a thread spins on is the one its partner waits for: a token then takes up to 50 times as long."""


def share_cores() -> None:
    """Changes the environment, unless the user set it. Takes effect if torch was not imported yet."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
