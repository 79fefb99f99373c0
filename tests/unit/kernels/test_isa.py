"""The choice of an instruction set, its library in the cache, and the reason if there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from workbench.errors import InvalidRequest
from workbench.kernels import build, compiled, isa, processor

pytestmark = pytest.mark.process

COMPILER = build.find_compiler()
needs_compiler = pytest.mark.skipif(COMPILER is None, reason=build.NO_COMPILER)
LEVELS = {level.name: level for level in isa.ALL}
LAPTOP = frozenset({"fpu", "sse2", "avx", "avx2", "fma", "bmi2"})


@pytest.fixture
def pretend(monkeypatch):
    """A function that gives the processor these features."""
    monkeypatch.delenv("WORKBENCH_ISA", raising=False)
    return lambda features: monkeypatch.setattr(isa, "features", lambda: frozenset(features))


@pytest.mark.parametrize(
    ("features", "name"),
    [
        (LAPTOP, "avx2"),
        (LAPTOP | {"avx512f"}, "avx2"),  # only a part of it
        (LAPTOP | set(LEVELS["avx512"].needs), "avx512"),
        (LAPTOP | set(LEVELS["avx512_bf16"].needs), "avx512_bf16"),
        ({"fp", "asimd", "bf16"}, "neon"),
        ({"fp", "asimd", "asimddp"}, "neon_dotprod"),
    ],
)
def test_the_highest_that_the_processor_has_is_chosen(pretend, features, name):
    pretend(features)
    assert isa.chosen() == LEVELS[name]


def test_a_lower_one_can_be_forced_and_one_that_is_lacking_is_refused_in_two_lines(pretend, monkeypatch):
    pretend(LEVELS["avx512"].needs)
    monkeypatch.setenv("WORKBENCH_ISA", "avx2")
    assert isa.chosen() == LEVELS["avx2"]
    pretend(LAPTOP)
    monkeypatch.setenv("WORKBENCH_ISA", "avx512_bf16")
    with pytest.raises(InvalidRequest) as refused:
        isa.chosen()
    assert str(refused.value).splitlines() == [
        "WORKBENCH_ISA is 'avx512_bf16', it must be an instruction set of this processor (avx2)",
        "it lacks avx512f, avx512bw, avx512dq, avx512vl, avx512_vnni, avx512_bf16",
    ]
    monkeypatch.setenv("WORKBENCH_ISA", "sse9")
    with pytest.raises(
        InvalidRequest, match="it must be one of neon, neon_dotprod, avx2, avx_vnni, avx512, avx512_vnni, avx512_bf16"
    ):
        isa.chosen()


def test_a_processor_without_any_computes_with_torch_and_says_why(pretend, monkeypatch):
    pretend({"fpu", "sse2", "avx"})
    monkeypatch.setenv("WORKBENCH_KERNELS", "auto")
    kernels = compiled.Kernels()
    kernels.settle()
    assert (kernels.used, kernels.is_compiling) == (None, False)
    assert kernels.status() == compiled.outlook() == f"torch ({isa.none_here()})"
    assert "they need AVX2 or NEON" in isa.none_here()


@pytest.mark.parametrize(
    ("system", "machine", "text", "expected"),
    [
        (
            "linux",
            "x86_64",
            "model name\t: one\nflags\t\t: fpu avx2 avx512_bf16\nflags\t\t: more\n",
            {"fpu", "avx2", "avx512_bf16"},
        ),
        ("linux", "aarch64", "Features\t: fp asimd\n", {"fp", "asimd"}),
        ("linux", "riscv64", "isa\t: rv64\n", set()),
        ("darwin", "x86_64", "FPU FMA\nBMI2 AVX2\n", {"fpu", "fma", "bmi2", "avx2"}),
        ("darwin", "arm64", "", {"asimd", "asimddp"}),
    ],
)
def test_features_are_read_as_each_system_lists_them(tmp_path, monkeypatch, system, machine, text, expected):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, stdout=text))
    assert processor.features.__wrapped__() == expected


@needs_compiler
@pytest.mark.parametrize("level", isa.available(), ids=lambda level: level.name)
def test_the_source_compiles_without_a_warning(level):
    build.build(COMPILER, level, niceness=0)
    log = build.library_path(COMPILER, level).with_suffix(".log")
    assert not log.exists(), log.read_text()  # `test_a_warning_is_kept_beside_the_library`: it would be there
    for command in build.commands(COMPILER, level):
        assert {"-Wall", "-Wextra"} <= set(command)
        assert "-w" not in command


@needs_compiler
@pytest.mark.skipif(not isa.available(), reason=isa.none_here())
def test_the_source_compiles_without_a_warning_where_there_is_no_openmp():
    """The way of Apple's compiler. What the others warn about is in the logs above."""
    command = [*build.commands(COMPILER, isa.available()[-1])[1], *build.SOURCES, "-Werror", "-fsyntax-only"]
    assert "-fopenmp" not in command
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_compiler
@pytest.mark.skipif(not isa.available(), reason=isa.none_here())
def test_a_warning_is_kept_beside_the_library(tmp_path):
    talkative = tmp_path / "compiler"
    talkative.write_text(
        f'#!/bin/sh\ncase "$*" in *-shared*) ;; *) echo "warning: careful" >&2 ;; esac\nexec {COMPILER} "$@" -O0\n'
    )
    talkative.chmod(0o755)
    assert status_in_a_fresh_process(tmp_path, CXX=str(talkative)).startswith("compiled for")
    (log,) = (tmp_path / "kernels").glob("*.log")
    assert log.read_text() == "warning: careful\n" * len(build.SOURCES)


def status_in_a_fresh_process(tmp_path, **env: str) -> str:
    code = "from workbench.kernels import compiled; print(compiled.status())"
    env = {**os.environ, "WORKBENCH_HOME": str(tmp_path), **env}
    return subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout.strip()


def test_without_a_working_compiler_the_reason_is_named(tmp_path):
    assert status_in_a_fresh_process(tmp_path, CXX=str(shutil.which("false"))).startswith("torch (")
    assert status_in_a_fresh_process(tmp_path, WORKBENCH_KERNELS="torch") == "torch (WORKBENCH_KERNELS=torch)"
    assert list((tmp_path / "kernels").glob("*.so")) == []


@needs_compiler
@pytest.mark.skipif(not isa.available(), reason=isa.none_here())
def test_a_library_is_compiled_once_for_each_instruction_set_and_kept(tmp_path):
    quick = tmp_path / "compiler"
    quick.write_text(f'#!/bin/sh\necho begun >> {tmp_path}/begun\nexec {COMPILER} "$@" -O0\n')
    quick.chmod(0o755)
    levels = isa.available()[:2]  # others differ by the name alone
    for level in levels:
        for _ in range(2):
            found = status_in_a_fresh_process(tmp_path, CXX=str(quick), WORKBENCH_ISA=level.name)
            assert found == f"compiled for {level.name}"
        assert len(list((tmp_path / "kernels").glob(f"cpu-{level.name}-*.so"))) == 1
    assert (tmp_path / "begun").read_text().count("begun") == len(levels) * (len(build.SOURCES) + 1)


@needs_compiler
def test_another_compiler_or_instruction_set_makes_another_library(tmp_path):
    script, (first, second, *_) = tmp_path / "c++", isa.ALL
    places = {build.library_path(COMPILER, first), build.library_path(COMPILER, second)}
    for text in ("one", "another"):
        script.write_text(text)
        places.add(build.library_path(str(script), first))
    assert len(places) == 4
