"""The kernels compile for 64-bit ARM, and there products have the same bits as here, attention and experts the numbers of plain
arithmetic. Needs a cross compiler and QEMU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from workbench.kernels import build, isa

pytestmark = [pytest.mark.process, pytest.mark.slow]
HERE = Path(__file__).parent
CROSS, QEMU = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64-static")
needs_cross = pytest.mark.skipif(None in (CROSS, QEMU), reason="apt-get install g++-aarch64-linux-gnu qemu-user-static")
ARM = [level for level in isa.ALL if "asimd" in level.needs]
FLAGS = [flag for flag in build.FLAGS if flag not in ("-fPIC", "-fvisibility=hidden", "-O3")]


PROGRAMS = {"products_main.cpp": 44, "codes_main.cpp": 9}
"""Programs, and the number of lines that each prints."""


def compiled(program: str, compiler: str, level: isa.InstructionSet, out: Path, *more: str) -> Path:
    source = HERE / program
    words = [compiler, "-O2", *FLAGS, *level.flags, *more, "-Werror", "-Wno-unknown-pragmas", f"-I{build.FOLDER}", str(source)]
    subprocess.run([*words, "-o", str(out)], check=True)
    return out


@needs_cross
@pytest.mark.skipif(not isa.available() or build.find_compiler() is None, reason="no kernels here to compare with")
@pytest.mark.parametrize("program", PROGRAMS)
def test_products_and_codes_have_the_bits_of_this_processor(program, tmp_path):
    here = compiled(program, build.find_compiler(), isa.available()[0], tmp_path / "here")
    want = subprocess.check_output([str(here)], text=True)
    assert len(want.splitlines()) == PROGRAMS[program]
    for level in ARM:
        there = compiled(program, CROSS, level, tmp_path / level.name, "-static")
        assert subprocess.check_output([QEMU, str(there)], text=True) == want, level.name


@needs_cross
@pytest.mark.skipif(not isa.available() or build.find_compiler() is None, reason="no kernels here to compare with")
def test_attention_and_experts_are_near_plain_arithmetic(tmp_path):
    """Sums are in another order with every width of vectors, so their bits differ."""
    levels = [(isa.available()[0], build.find_compiler(), ()), *((level, CROSS, ("-static",)) for level in ARM)]
    for level, compiler, more in levels:
        program = compiled("attention_main.cpp", compiler, level, tmp_path / level.name, *more)
        start = [QEMU] if more else []
        found = dict(line.split() for line in subprocess.check_output([*start, str(program)], text=True).splitlines())
        assert len(found) == 9, level.name
        for name, difference in found.items():
            assert float(difference) < (2e-5 if name.endswith("float32") else 0.03), (level.name, name, difference)
