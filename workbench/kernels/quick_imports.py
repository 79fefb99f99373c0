"""Imports in less time: from bytecode that is kept, and without the collector of garbage.

Python compiles each module before it runs it, and keeps the result beside the module. Where it may not (PYTHONDONTWRITEBYTECODE,
an installation that only another user writes to) and the installer has not done it, every start compiles the 750 modules
of torch, which takes longer than all the rest of a start. The results are then kept in WORKBENCH_HOME, like compiled kernels.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.config import home


def bytecode_folder() -> Path | None:
    """Returns the folder for bytecode, if torch has none beside its modules and would get none; else None."""
    folder = home() / "bytecode"
    if sys.pycache_prefix is not None:
        return folder if sys.pycache_prefix == str(folder) else None
    try:
        found = importlib.util.find_spec("torch")
    except (ImportError, ValueError):  # a module that stands in for it has no spec
        return None
    if found is None or found.cached is None or found.origin is None or os.path.exists(found.cached):
        return None
    can_write = not sys.dont_write_bytecode and os.access(os.path.dirname(found.origin), os.W_OK)
    return None if can_write else folder


def child_environment() -> dict[str, str]:
    """Returns the environment of a child in Python: one that keeps its bytecode in that folder, if it is needed."""
    folder = bytecode_folder()
    kept = {} if folder is None else {"PYTHONPYCACHEPREFIX": str(folder), "PYTHONDONTWRITEBYTECODE": ""}
    return {**os.environ, **kept}


class _Settings:
    """The place of bytecode in this process, while some thread is in a block that keeps it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_blocks = 0
        self._before = (sys.pycache_prefix, sys.dont_write_bytecode)

    def begin(self) -> None:
        with self._lock:
            if not self._num_blocks:
                self._before = (sys.pycache_prefix, sys.dont_write_bytecode)
                folder = bytecode_folder()
                if folder is not None:
                    sys.pycache_prefix, sys.dont_write_bytecode = str(folder), False
            self._num_blocks += 1

    def end(self) -> None:
        with self._lock:
            self._num_blocks -= 1
            if not self._num_blocks:
                sys.pycache_prefix, sys.dont_write_bytecode = self._before


_settings = _Settings()


@contextmanager
def kept_bytecode() -> Iterator[None]:
    """Keeps the bytecode of what is imported in the block in that folder, if it is needed."""
    _settings.begin()
    try:
        yield
    finally:
        _settings.end()


@contextmanager
def quick_imports() -> Iterator[None]:
    """Keeps bytecode, and collects no garbage in the block. What was made in it then counts as old: modules stay."""
    collects = gc.isenabled()
    gc.disable()
    try:
        with kept_bytecode():
            yield
    finally:
        if collects:
            if gc.get_freeze_count() == 0:
                gc.freeze()
                gc.unfreeze()
            gc.enable()
