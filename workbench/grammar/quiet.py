"""What a library of another language writes to the process's standard error stays with us."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2
_OWN_LINE = re.compile(rb"\[\d\d:\d\d:\d\d\] \S+\.(?:cc|cpp|h):\d+: ")
"""How xgrammar begins each of its lines: the time and a place in its source."""
_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def without_library_lines() -> Iterator[None]:
    """Keeps xgrammar's own lines from standard error. What others write there meanwhile follows at the end."""
    try:
        ours = os.dup(STDERR)
    except OSError:  # there is none
        yield
        return
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(ours, STDERR)
            os.close(ours)
            kept.seek(0)
            os.write(STDERR, b"".join(line for line in kept if not _OWN_LINE.match(line)))
