"""The compiled form of the operations: loaded where it was made before, else compiled once for this processor.

WORKBENCH_KERNELS is one of: "auto" computes with torch until the compiler is done and changes over between two steps; "wait"
waits for the compiler, so that all steps are computed alike; "torch" compiles nothing. WORKBENCH_ISA is described in `isa`.
Without a compiler nothing is lost but speed.
"""

from __future__ import annotations

import os
import subprocess
import threading

from workbench.errors import InvalidRequest
from workbench.kernels.build import NO_COMPILER, build, find_compiler, library_path, reason
from workbench.kernels.isa import InstructionSet, chosen, none_here
from workbench.kernels.library import Library, load_library

COMPILING = "compiling the CPU kernels"
BESIDE = 10
"""Niceness of a compiler that runs beside the engine."""


class Kernels:
    """The library of this process. `used` changes once at most, from None to the library."""

    def __init__(self) -> None:
        self.used: Library | None = None
        self.is_settled = False
        """True when operations may be called without a wait."""
        self._ready: Library | None = None
        self._why_not = ""
        self._making: threading.Thread | None = None
        self._has_begun = False
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Loads the library if it was made before, else begins to compile it on a thread. Waits for nothing.

        Raises InvalidRequest for a wrong WORKBENCH_KERNELS or WORKBENCH_ISA.
        """
        wanted, isa = mode(), chosen()
        with self._lock:
            if self._has_begun:
                return
            self._has_begun = True
            compiler = find_compiler()
            if wanted == "torch":
                self._why_not = "WORKBENCH_KERNELS=torch"
            elif isa is None:
                self._why_not = none_here()
            elif compiler is None:
                self._why_not = NO_COMPILER
            elif library_path(compiler, isa).exists():
                self._load(compiler, isa)
                self.adopt()
            else:
                self._making = threading.Thread(target=self._make, args=(compiler, isa), name="workbench-kernels", daemon=True)
                self._making.start()

    def settle(self) -> None:
        """Begins, and waits for the compiler if WORKBENCH_KERNELS is `wait`."""
        self.begin()
        if mode() == "wait":
            self.wait()
        self.is_settled = True

    def wait(self) -> None:
        """Waits for the compiler, if one runs, and takes its library into use."""
        if self._making is not None:
            self._making.join()
        self.adopt()

    def adopt(self) -> None:
        """Takes a library that became ready into use. To be called between two steps, so that a step is computed in one way.

        Another engine of this process may be within a step: there two operations differ by rounding.
        """
        self.used = self._ready

    @property
    def is_compiling(self) -> bool:
        return self._making is not None and self._making.is_alive()

    @property
    def will_be_used(self) -> bool:
        """True if operations are computed by the library, now or once it is compiled."""
        return self._ready is not None or self.is_compiling

    def status(self) -> str:
        """Returns "compiled for" an instruction set, or "torch" with the reason."""
        if self._ready is not None:
            return f"compiled for {self._ready.isa}"
        return f"torch ({'until the CPU kernels are compiled' if self.is_compiling else self._why_not})"

    def _make(self, compiler: str, isa: InstructionSet) -> None:
        try:
            build(compiler, isa, niceness=0 if mode() == "wait" else BESIDE)
        except (OSError, subprocess.CalledProcessError) as error:
            self._why_not = f"{compiler} could not build them: {reason(error)}"
        else:
            self._load(compiler, isa)

    def _load(self, compiler: str, isa: InstructionSet) -> None:
        try:
            self._ready = load_library(library_path(compiler, isa), isa.name)
        except (OSError, AttributeError) as error:
            self._why_not = f"the library that {compiler} built cannot be loaded: {reason(error)}"


kernels = Kernels()


def status() -> str:
    """Settles the kernels. Returns "compiled for" an instruction set, or "torch" with the reason."""
    kernels.settle()
    return kernels.status()


def library() -> Library | None:
    """Returns the compiled operations, or None where torch computes. Settles the kernels when it is first called."""
    if not kernels.is_settled:
        kernels.settle()
    return kernels.used


def outlook() -> str:
    """Returns what an engine that starts now would compute with. Compiles and loads nothing."""
    compiler, isa = find_compiler(), chosen()
    if mode() == "torch":
        return "torch (WORKBENCH_KERNELS=torch)"
    if isa is None:
        return f"torch ({none_here()})"
    if compiler is None:
        return f"torch ({NO_COMPILER}; with one an engine is up to half as fast again)"
    if library_path(compiler, isa).exists():
        return f"compiled for {isa.name}"
    return f"not compiled yet: {compiler} does it for {isa.name} beside the first engine's work"


def mode() -> str:
    """Returns WORKBENCH_KERNELS. Raises InvalidRequest if it is none of the three."""
    wanted = os.environ.get("WORKBENCH_KERNELS") or "auto"
    if wanted not in ("auto", "wait", "torch"):
        raise InvalidRequest("WORKBENCH_KERNELS", wanted, "auto, wait or torch")
    return wanted
