"""Instruction sets for which the kernels are compiled.

The highest that the processor has is used, or a lower one that WORKBENCH_ISA names, for tests and benchmarks.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

from workbench.errors import InvalidRequest
from workbench.kernels.processor import features


@dataclass(frozen=True, slots=True)
class InstructionSet:
    name: str
    needs: tuple[str, ...]
    """Features of the processor."""

    @property
    def flags(self) -> list[str]:
        """Options of the compiler: on x86 they bear the names of the features. NEON is a part of every 64-bit ARM."""
        if "asimd" in self.needs:
            return ["-march=armv8.2-a+dotprod"] if "asimddp" in self.needs else []
        return [f"-m{feature.replace('_', '')}" for feature in self.needs]


_AVX2 = ("avx2", "fma", "bmi2")
_AVX512 = (*_AVX2, "avx512f", "avx512bw", "avx512dq", "avx512vl")
ALL = (
    InstructionSet("neon", ("asimd",)),
    InstructionSet("neon_dotprod", ("asimd", "asimddp")),
    InstructionSet("avx2", _AVX2),
    InstructionSet("avx_vnni", (*_AVX2, "avx_vnni")),
    InstructionSet("avx512", _AVX512),
    InstructionSet("avx512_vnni", (*_AVX512, "avx512_vnni")),
    InstructionSet("avx512_bf16", (*_AVX512, "avx512_vnni", "avx512_bf16")),
)
"""The instruction sets, lower ones first. Each is faster than the one before it (docs/benchmarks.md)."""


def available() -> list[InstructionSet]:
    """Returns the instruction sets that this processor has, lower ones first."""
    return [isa for isa in ALL if features().issuperset(isa.needs)]


def chosen() -> InstructionSet | None:
    """Returns the instruction set to compile for, or None where the kernels have none for this processor.

    Raises InvalidRequest if WORKBENCH_ISA names one that does not exist or that the processor lacks.
    """
    wanted, here = os.environ.get("WORKBENCH_ISA"), available()
    if not wanted:
        return here[-1] if here else None
    for isa in ALL:
        if isa.name == wanted:
            missing = [feature for feature in isa.needs if feature not in features()]
            if not missing:
                return isa
            names = ", ".join(isa.name for isa in here) or "none"
            raise InvalidRequest("WORKBENCH_ISA", wanted, f"an instruction set of this processor ({names})",
                                 hint=f"it lacks {', '.join(missing)}")  # fmt: skip
    raise InvalidRequest("WORKBENCH_ISA", wanted, f"one of {', '.join(isa.name for isa in ALL)}", hint="or leave it out")


def none_here() -> str:
    """Returns the reason why no kernels are compiled for this processor."""
    return f"no kernels for this {platform.machine()} processor: they need AVX2 or NEON"
