"""Compiles `cpu.cpp` for this processor once (about 3 s) and keeps the library in the cache folder.

WORKBENCH_KERNELS=torch leaves it out; without a compiler nothing is lost but speed.
"""

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

from workbench.config import home
from workbench.errors import InvalidRequest

SOURCE = Path(__file__).with_name("cpu.cpp")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = [
    *("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-w"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"),
]
LONGEST_COMPILE_S = 120.0

P, N, F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
SIGNATURES: dict[str, list[type]] = {
    "rms_norm": [P, P, P, N, N, N, F],
    "rotate": [P, P, P, P, N, N, N, N],
    "silu_mul": [P, P, N, N],
    "softmax": [P, P, N, N, N, N, N, N, F],
    "attend_slots": [P, N, P, P, P, P, P, P, N, N, N, N, F],
    "attend_causal": [P, N, P, P, P, P, P, P, P, N, N, N, N, N, F],
    "attend_all": [P, N, P, P, P, P, N, N, N, N, N, F],
    "mask_rows": [P, P, N, N, N],
    "argmax": [P, P, P, P, N, N, N],
    "look": [P, P, P, P, P, P, P, N, N, N, N],
    "write_slots": [P, P, N, P, N, N],
    "merge": [P, P, P, P, N, N],
}


def status() -> str:
    """ "compiled", or "torch" with the reason. Compiles where that was not done yet."""
    return "compiled" if library() is not None else f"torch ({_find()[1]})"


def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where there are none."""
    return _find()[0]


@cache
def _find() -> tuple[ctypes.CDLL | None, str]:
    """(the library, why there is none). Settled once per process."""
    wanted = os.environ.get("WORKBENCH_KERNELS") or "auto"
    if wanted not in ("auto", "torch"):
        raise InvalidRequest("WORKBENCH_KERNELS", wanted, "auto or torch")
    if wanted == "torch":
        return None, "WORKBENCH_KERNELS=torch"
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return None, "no C++ compiler: c++, g++ or clang++"
    try:
        return _load(_built(compiler)), ""
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        return None, f"{compiler} could not build them: {_reason(error)}"


def _built(compiler: str) -> Path:
    path = home() / "kernels" / f"cpu-{_fingerprint(compiler)}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            try:
                _compile(compiler, [*FLAGS, "-fopenmp"], made)
            except subprocess.CalledProcessError:  # Apple's compiler: one thread is still better than none
                _compile(compiler, FLAGS, made)
            made.replace(path)  # at once, so that two processes never see half a library
    return path


def _compile(compiler: str, flags: list[str], made: Path) -> None:
    command = [compiler, *flags, str(SOURCE), "-o", str(made)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST_COMPILE_S)


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
    if not isinstance(error, subprocess.CalledProcessError):
        return str(error)
    return next((line for line in error.stderr.splitlines() if "error" in line.lower()), f"exit status {error.returncode}")
