"""The number of cores is the smallest of what the processor has, what affinity allows and what cgroups allow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_weights import write_checkpoint

from workbench.kernels import cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that makes a machine of files, as Linux writes them: siblings of each processor, and cgroups' limits."""

    def make(siblings: list[str], group: str = "", limits: dict[str, str] | None = None) -> int:
        for cpu, text in enumerate(siblings):
            place = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
            place.mkdir(parents=True)
            (place / "thread_siblings_list").write_text(f"{text}\n")
        (tmp_path / "self").write_text(f"0::/{group}\n" if group is not None else "")
        for name, text in (limits or {}).items():
            file = tmp_path / "groups" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")
        monkeypatch.setattr(cores, "CPUS", tmp_path / "cpu")
        monkeypatch.setattr(cores, "GROUPS", tmp_path / "groups")
        monkeypatch.setattr(cores, "GROUP_OF_SELF", tmp_path / "self")
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(len(siblings))), raising=False)
        return cores.num_cores()

    return make


def test_two_threads_of_a_core_count_once(machine):
    assert machine(["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"]) == 4
    assert cores.num_processors() == 8


def test_a_limit_of_the_group_holds_for_threads_too(machine):
    assert machine(["0,2", "1,3", "0,2", "1,3"], "a", {"a/cpu.max": "300000 100000"}) == 2
    assert cores.num_processors() == 3


def test_without_a_topology_each_processor_is_a_core(machine):
    assert machine([], limits={}) == 1
    assert cores._siblings(17) == "17"


@pytest.mark.parametrize(
    "limits, num",
    [
        ({"a/b/cpu.max": "max 100000"}, 8),
        ({"a/b/cpu.max": "300000 100000"}, 3),
        ({"a/b/cpu.max": "350000 100000"}, 3),
        ({"a/b/cpu.max": "20000 100000"}, 1),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "400000 100000", "a/b/cpu.max": "600000 100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"a/b/cpu.max": "nonsense"}, 8),
    ],
)
def test_the_smallest_limit_of_the_groups_above_counts(machine, limits, num):
    assert machine([str(cpu) for cpu in range(8)], "a/b", limits) == num


LOAD = "import sys, workbench; e = workbench.Engine(sys.argv[1], skip_tokenizer_init=True, max_total_tokens=64)"


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or shutil.which("taskset") is None, reason="needs Linux's affinity")
@pytest.mark.parametrize(
    "prefix, env, num", [(["taskset", "-c", "ONE"], {}, 1), ([], {"OMP_NUM_THREADS": "1"}, 1), ([], {}, None)]
)
def test_an_engine_uses_the_cores_it_may(prefix, env, num, tmp_path):
    code = f"{LOAD}; print(e.get_server_info()['num_threads'])"
    one = str(min(os.sched_getaffinity(0)))
    command = [*(word.replace("ONE", one) for word in prefix), sys.executable, "-c", code, str(write_checkpoint(tmp_path))]
    rest = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    said = subprocess.check_output(command, env=rest | env, text=True)
    assert int(said) == (num or cores.num_cores())
