"""The compiler runs beside the engine: nothing waits for it unless WORKBENCH_KERNELS is "wait", and it ends with its parent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from workbench.kernels import build, compiled, isa

COMPILER, ISA = build.find_compiler(), isa.chosen()
pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason=build.NO_COMPILER),
    pytest.mark.skipif(ISA is None, reason=isa.none_here()),
]
NUM_COMMANDS = len(build.SOURCES) + 1
"""Each source is compiled, and then all are linked."""
GATED = """#!/bin/sh
echo begun >> "{folder}/begun"
while [ ! -e "{folder}/gate" ]; do sleep 0.05; done
exec {compiler} -O0 "$@" -O0
"""
"""A compiler that writes a file when it begins and goes on when a file appears."""


@pytest.fixture
def gated(tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose compiler waits for the file `gate`."""
    script = tmp_path / "compiler"
    script.write_text(GATED.format(folder=tmp_path, compiler=COMPILER))
    script.chmod(0o755)
    return {**os.environ, "WORKBENCH_HOME": str(tmp_path / "home"), "CXX": str(script), "WORKBENCH_KERNELS": "auto"}


def start(code: str, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(is_true, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def helpers(folder: Path) -> list[psutil.Process]:
    """Returns the programs that make a library in the folder."""
    me = str(build.HELPER)
    told = [process for process in psutil.process_iter(["cmdline"]) if me in (process.info["cmdline"] or ())]
    return [process for process in told if any(str(folder) in word for word in process.info["cmdline"])]


def members(group: int) -> list[int]:
    found = []
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


GENERATE = """
import json, time
from pathlib import Path
import workbench
from workbench.kernels.compiled import kernels
seen = []
with workbench.Engine({model!r}, max_total_tokens=4096, progress=lambda what, *_: seen.append(what)) as engine:
    def state(): return engine.get_server_info()["kernels"]
    def tokens():
        params = {{"temperature": 0, "max_new_tokens": 6, "ignore_eos": True}}
        return engine.generate("One, two, three, four, five,", params)["output_ids"]
    first = [seen[-1], state(), tokens()]
    (Path({folder!r}) / "gate").touch()
    while kernels.is_compiling: time.sleep(0.02)
    engine.flush_cache()
    unused = kernels.used is None
    print(json.dumps([*first, tokens(), state(), unused and kernels.used is not None]))
"""


def test_the_first_token_comes_before_the_compiler_is_done_and_later_steps_use_what_it_made(gated, tmp_path, smollm2):
    with start(GENERATE.format(folder=str(tmp_path), model=smollm2), gated) as running:
        shown, before, with_torch, with_compiled, after, is_used = json.loads(running.communicate()[0])
    assert shown == "reading the weights and compiling the CPU kernels"
    assert before == "torch (until the CPU kernels are compiled)"
    assert (after, is_used) == (f"compiled for {ISA.name}", True)
    assert with_torch == with_compiled
    assert helpers(tmp_path) == []


BEGIN = """
import time
from pathlib import Path
from workbench.kernels.compiled import kernels
kernels.begin()
while not Path({begun!r}).exists(): time.sleep(0.02)
"""


@pytest.mark.process
@pytest.mark.parametrize("how", ["kill", "terminate", "leave"])
def test_the_compiler_and_what_it_started_end_with_the_process_that_wanted_it(gated, tmp_path, how):
    begin = BEGIN.format(begun=str(tmp_path / "begun"))
    with start(begin + ("input()" if how == "leave" else "kernels.wait()"), gated) as running:
        wait_for((tmp_path / "begun").exists)
        helper = helpers(tmp_path)[0]
        group = os.getpgid(helper.pid)
        assert group != os.getpgid(running.pid)
        assert len(members(group)) >= 2
        running.stdin.write("\n") if how == "leave" else getattr(running, how)()
        running.communicate()
        wait_for(lambda: not members(group))


STATUS = "from workbench.kernels.compiled import status; print(status())"


@pytest.mark.process
def test_of_two_processes_one_compiles_and_both_use_it(gated, tmp_path):
    with start(STATUS, gated | {"WORKBENCH_KERNELS": "wait"}) as one, start(STATUS, gated | {"WORKBENCH_KERNELS": "wait"}) as two:
        wait_for(lambda: len(helpers(tmp_path)) >= 2 and (tmp_path / "begun").exists())
        (tmp_path / "gate").touch()
        assert [process.communicate()[0].strip() for process in (one, two)] == [f"compiled for {ISA.name}"] * 2
    assert (tmp_path / "begun").read_text().count("begun") == NUM_COMMANDS


@pytest.mark.process
def test_the_lock_of_one_that_was_killed_is_free(gated, tmp_path):
    with start(BEGIN.format(begun=str(tmp_path / "begun")) + "kernels.wait()", gated) as running:
        wait_for((tmp_path / "begun").exists)
        running.kill()
    (tmp_path / "gate").touch()
    with start(STATUS, {**gated, "WORKBENCH_KERNELS": "wait"}) as second:
        assert second.communicate()[0].strip() == f"compiled for {ISA.name}"


def test_the_outlook_compiles_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    monkeypatch.setenv("WORKBENCH_KERNELS", "auto")
    assert "not compiled yet" in compiled.outlook()
    assert f"for {ISA.name}" in compiled.outlook()
    place = build.library_path(COMPILER, ISA)
    place.parent.mkdir()
    place.touch()
    assert compiled.outlook() == f"compiled for {ISA.name}"
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "no C++ compiler" in compiled.outlook()
    assert list((tmp_path / "kernels").glob("*.part")) == []
