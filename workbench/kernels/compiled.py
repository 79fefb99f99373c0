"""Compiles `cpu.cpp` for this processor once (about 2 s) and keeps the library in the cache folder."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("cpu.cpp")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    "-O3 -march=native -std=c++17 -fPIC -shared -fopenmp -w "
    "-fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math"
).split()
LONGEST_COMPILE_S = 120.0

P, N, F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
SIGNATURES: dict[str, list[type]] = {
    "rms_norm": [P, P, P, N, N, N, F],
    "rotate": [P, P, P, P, N, N, N, N],
    "silu_mul": [P, P, N, N],
    "softmax": [P, P, N, N, N, N, N, N, F],
    "attend_slots": [P, N, P, P, P, P, P, P, N, N, N, N, F],
    "merge": [P, P, P, P, N, N],
}


class NotCompiled(Exception):
    """There is no library for this machine; the message says why."""


@cache
def library() -> ctypes.CDLL:
    """The compiled kernels. Raises NotCompiled; WORKBENCH_KERNELS=torch asks for that."""
    if os.environ.get("WORKBENCH_KERNELS", "auto") == "torch":
        raise NotCompiled("WORKBENCH_KERNELS=torch")
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise NotCompiled("no C++ compiler (c++, g++ or clang++) was found")
    try:
        return _load(_built(compiler))
    except (OSError, subprocess.SubprocessError) as error:
        raise NotCompiled(f"{compiler} could not build it: {_reason(error)}") from error


def _built(compiler: str) -> Path:
    home = Path(os.environ.get("WORKBENCH_HOME") or Path.home() / ".cache" / "workbench")
    path = home / "kernels" / f"cpu-{_fingerprint(compiler)}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            command = [compiler, *FLAGS, str(SOURCE), "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST_COMPILE_S)
            made.replace(path)  # at once, so that two processes never see half a library
    return path


def _fingerprint(compiler: str) -> str:
    """Names the source, how it is compiled and the processor: a cache folder may be shared by machines."""
    processor = platform.processor() + platform.machine() + platform.system()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    parts = SOURCE.read_bytes() + " ".join([compiler, *FLAGS, processor]).encode()
    return hashlib.sha256(parts).hexdigest()[:16]


def _load(path: Path) -> ctypes.CDLL:
    built = ctypes.CDLL(str(path))
    for name, arguments in SIGNATURES.items():
        for dtype in ("float32", "bfloat16"):
            function = getattr(built, f"{name}_{dtype}")
            function.argtypes, function.restype = arguments, None
    return built


def _reason(error: Exception) -> str:
    text = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return next((line for line in (text or str(error)).splitlines() if "error" in line.lower()), str(error))
