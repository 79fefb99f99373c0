"""Compilation of the kernels for one instruction set: the compiler, its options, and the place where a library is kept."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from workbench.config import home
from workbench.kernels.isa import InstructionSet

FOLDER = Path(__file__).with_name("cpu")
HELPER = Path(__file__).with_name("compile.py")
SOURCES = [str(FOLDER / name) for name in ("products.cpp", "library.cpp")]
"""The longest first."""
COMPILERS = ("c++", "g++", "clang++")
NO_COMPILER = "no C++ compiler: c++, g++ or clang++"
FLAGS = [
    *("-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"),
]


def find_compiler() -> str | None:
    return os.environ.get("CXX") or next(filter(None, map(shutil.which, COMPILERS)), None)


def library_path(compiler: str, isa: InstructionSet) -> Path:
    """Returns the place of the library that this compiler makes."""
    return home() / "kernels" / f"cpu-{isa.name}-{_fingerprint(compiler, isa)}.so"


def commands(compiler: str, isa: InstructionSet) -> list[list[str]]:
    """Returns the beginnings of commands to try in turn, which both compile and link."""
    plain = [compiler, *FLAGS, *isa.flags]
    return [[*plain, "-fopenmp"], [*plain, "-Wno-unknown-pragmas"]]  # Apple's compiler lacks OpenMP: one thread is still faster


def build(compiler: str, isa: InstructionSet, niceness: int) -> None:
    """Returns when the library is in its place, made by this process or by another one.

    `niceness` lowers the priority of the compiler. Raises CalledProcessError or OSError.
    """
    path = library_path(compiler, isa)
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(HELPER), str(path), str(niceness), json.dumps(commands(compiler, isa)), *SOURCES]
    # The helper lives for as long as its input is open: not longer than this process, however that ends.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    ) as helper:
        assert helper.stderr is not None
        said = helper.stderr.read()
        if helper.wait():
            raise subprocess.CalledProcessError(helper.returncode, command, stderr=said)


def reason(error: Exception) -> str:
    """Returns one line of the error: the compiler's own words, where it gave any."""
    if not isinstance(error, subprocess.CalledProcessError):
        return str(error)[:200]
    lines = error.stderr.splitlines()
    return next((line for line in lines if "error" in line.lower()), f"exit status {error.returncode}")[:200]


def _fingerprint(compiler: str, isa: InstructionSet) -> str:
    """Returns a name for sources, options and compiler. Another version of the compiler is another file."""
    file = Path(shutil.which(compiler) or compiler).resolve()
    stat = file.stat() if file.exists() else None
    version = "" if stat is None else f"{stat.st_size} {stat.st_mtime_ns}"
    words = " ".join([str(file), version, platform.system(), platform.machine(), *FLAGS, *isa.flags]).encode()
    sources = b"".join(path.read_bytes() for path in sorted(FOLDER.iterdir()))
    return hashlib.sha256(words + sources).hexdigest()[:16]
