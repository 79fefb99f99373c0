"""Loads torch's library on a thread, before torch is imported.

An import holds the interpreter while the system loads a library and runs its beginnings, 0.2 to 0.3 s for torch's. A call of the
system through ctypes does not, so that Python goes on with other work.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
import threading
from pathlib import Path

FILES = ("libtorch_global_deps.so", "libtorch_cpu.so")
"""Those that the import of torch loads, in its order; the names in the first one are for all."""
CUDA = "libtorch_cuda.so"


def load_ahead() -> threading.Thread | None:
    """Begins to load the library; returns the thread that does. What other threads load meanwhile waits for it.

    Returns None where there is nothing to do: torch is loaded, is a CUDA build (its import searches for more libraries first), or
    has no such files. A library that does not load is left to the import, whose error has the reason.
    """
    found = None if "torch" in sys.modules else importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "lib"
    if (folder / CUDA).exists() or not all((folder / name).exists() for name in FILES):
        return None
    thread = threading.Thread(target=_load, args=(folder,), name="workbench-library")
    thread.start()
    return thread


def _load(folder: Path) -> None:
    with contextlib.suppress(OSError, AttributeError):  # a system without this call
        load = ctypes.CDLL(None).dlopen
        load.argtypes, load.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
        for name, names_for in zip(FILES, (os.RTLD_GLOBAL, os.RTLD_LOCAL), strict=True):
            if not load(os.fsencode(folder / name), os.RTLD_NOW | names_for):
                return
