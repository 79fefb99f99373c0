"""The compiled form of the operations: loaded where it was made before, else compiled once for this processor.

WORKBENCH_KERNELS says how. "auto" computes with torch until the compiler is done and changes over between two steps; "wait"
waits for it, so that all is computed alike; "torch" leaves it out. Without a compiler nothing is lost but speed.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from workbench.config import home
from workbench.errors import InvalidRequest

SOURCE = Path(__file__).with_name("cpu.cpp")
HELPER = Path(__file__).with_name("compile.py")
COMPILERS = ("c++", "g++", "clang++")
NO_COMPILER = "no C++ compiler: c++, g++ or clang++"
COMPILING = "compiling the CPU kernels"
FLAGS = [
    *("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-w"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"),
]
BESIDE = 10
"""How far a compiler gives way to the engine that computes beside it (`nice`)."""

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


class Kernels:
    """The library of this process. What is `used` changes once at most, from None to the library."""

    def __init__(self) -> None:
        self.used: ctypes.CDLL | None = None
        self.is_settled = False
        """Nobody has to wait any more before the operations are called."""
        self._ready: ctypes.CDLL | None = None
        self._why_not = ""
        self._making: threading.Thread | None = None
        self._has_begun = False
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Loads what is there, else begins to compile on a thread and waits for nothing."""
        wanted = mode()
        with self._lock:
            if self._has_begun:
                return
            self._has_begun = True
            compiler = find_compiler()
            if wanted == "torch":
                self._why_not = "WORKBENCH_KERNELS=torch"
            elif compiler is None:
                self._why_not = NO_COMPILER
            elif (path := place(compiler)).exists():
                self._load(compiler, path)
                self.adopt()
            else:
                self._making = threading.Thread(target=self._make, args=(compiler, path), name="workbench-kernels", daemon=True)
                self._making.start()

    def settle(self) -> None:
        """Begins; waits too where that is wanted."""
        self.begin()
        if mode() == "wait":
            self.wait()
        self.is_settled = True

    def wait(self) -> None:
        """Returns when the compiler is done, if one runs, and with its library in use."""
        if self._making is not None:
            self._making.join()
        self.adopt()

    def adopt(self) -> None:
        """Takes into use what became ready. To be called between two steps, so that a step is computed in one way.

        Another engine of this process may be within one: there two operations differ by rounding.
        """
        self.used = self._ready

    @property
    def is_compiling(self) -> bool:
        return self._making is not None and self._making.is_alive()

    def status(self) -> str:
        if self._ready is not None:
            return "compiled"
        return f"torch ({'until the CPU kernels are compiled' if self.is_compiling else self._why_not})"

    def _make(self, compiler: str, path: Path) -> None:
        try:
            _compile(compiler, path)
        except (OSError, subprocess.CalledProcessError) as error:
            self._why_not = f"{compiler} could not build them: {_reason(error)}"
        else:
            self._load(compiler, path)

    def _load(self, compiler: str, path: Path) -> None:
        try:
            self._ready = _load(path)
        except (OSError, AttributeError) as error:
            self._why_not = f"what {compiler} built cannot be loaded: {_reason(error)}"


kernels = Kernels()


def status() -> str:
    """ "compiled", or "torch" with the reason."""
    kernels.settle()
    return kernels.status()


def library() -> ctypes.CDLL | None:
    """The compiled operations, or None where torch computes."""
    if not kernels.is_settled:
        kernels.settle()
    return kernels.used


def outlook() -> str:
    """What an engine that starts now would compute with. Compiles and loads nothing."""
    compiler = find_compiler()
    if mode() == "torch":
        return "torch (WORKBENCH_KERNELS=torch)"
    if compiler is None:
        return f"torch ({NO_COMPILER}; with one an engine is up to half as fast again)"
    if place(compiler).exists():
        return "compiled"
    return f"not compiled yet: {compiler} does it beside the first engine's work"


def mode() -> str:
    wanted = os.environ.get("WORKBENCH_KERNELS") or "auto"
    if wanted not in ("auto", "wait", "torch"):
        raise InvalidRequest("WORKBENCH_KERNELS", wanted, "auto, wait or torch")
    return wanted


def find_compiler() -> str | None:
    return os.environ.get("CXX") or next(filter(None, map(shutil.which, COMPILERS)), None)


def place(compiler: str) -> Path:
    """Where the library that this compiler makes is kept."""
    return home() / "kernels" / f"cpu-{_fingerprint(compiler)}.so"


def _compile(compiler: str, path: Path) -> None:
    """Returns when the library is there, made by this process or by another one. Raises CalledProcessError or OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = [compiler, *FLAGS, str(SOURCE)]
    ways = [[*plain, "-fopenmp"], plain]  # Apple's compiler lacks it: one thread is still better than none
    niceness = 0 if mode() == "wait" else BESIDE
    command = [sys.executable, str(HELPER), str(path), str(niceness), json.dumps(ways)]
    # The helper lives for as long as its input is open: not longer than this process, however that ends.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    ) as helper:
        assert helper.stderr is not None
        said = helper.stderr.read()
        if helper.wait():
            raise subprocess.CalledProcessError(helper.returncode, command, stderr=said)


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
        return str(error)[:200]
    lines = error.stderr.splitlines()
    return next((line for line in lines if "error" in line.lower()), f"exit status {error.returncode}")[:200]
