"""Sets what torch's libraries read from the environment when they are loaded: how long threads spin, how much oneDNN keeps."""

from __future__ import annotations

import os

SPINS = "3000"
"""About 0.1 ms. GNU OpenMP spins for milliseconds, which costs nothing on an idle machine. Beside a browser or another
busy process the core that a thread spins on is the one its partner waits for: a token then takes up to 50 times as long."""
NUM_PRIMITIVES = "64"
"""oneDNN keeps a compiled product for every number of rows that it meets, 1,024 by default, each of about 1 MB: a server's memory
grew by 1 GB. A product takes 0.6 ms to compile, and a step needs four for a number of rows that is new."""
CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Those of oneDNN and of its wrapper in torch. What either keeps takes memory."""


def prepare_libraries() -> None:
    """Changes the environment, but nothing that the user set. Takes effect if torch was not imported yet."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    for name in CACHES:
        os.environ.setdefault(name, NUM_PRIMITIVES)
