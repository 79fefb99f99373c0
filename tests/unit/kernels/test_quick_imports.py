from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading

import pytest

from workbench.kernels import quick_imports as quick

PROGRAM = """
import json, sys
before = (sys.pycache_prefix, sys.dont_write_bytecode)
import workbench.kernels.quick_imports as quick
environment = quick.child_environment().get("PYTHONPYCACHEPREFIX")
with quick.quick_imports():
    import torch
import plain
assert before == (sys.pycache_prefix, sys.dont_write_bytecode)
print(json.dumps([torch.__cached__, plain.__cached__, environment]))
"""


@pytest.fixture
def place(tmp_path):
    """Returns a folder with a package `torch` and a module, neither compiled."""
    (tmp_path / "lib" / "torch").mkdir(parents=True)
    (tmp_path / "lib" / "torch" / "__init__.py").write_text("x = 1\n")
    (tmp_path / "lib" / "plain.py").write_text("x = 1\n")
    return tmp_path


def imported(place, **environment):
    """Returns where a fresh interpreter keeps bytecode of both: within the block, behind it; and in a child of it."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")}
    path = os.pathsep.join([str(place / "lib"), *sys.path])
    clean |= {"PYTHONPATH": path, "WORKBENCH_HOME": str(place / "home")} | environment
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=clean, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def compiled(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.pyc")) if folder.exists() else []


@pytest.mark.process
def test_bytecode_is_kept_at_home_where_python_writes_none(place):
    cached, plain, child = imported(place, PYTHONDONTWRITEBYTECODE="1")
    kept = place / "home" / "bytecode"
    assert child == str(kept)
    assert cached.startswith(child)
    assert cached.endswith(f"torch/__init__.{sys.implementation.cache_tag}.pyc")
    assert os.path.exists(cached)
    assert not plain.startswith(child)
    assert not compiled(place / "lib")

    made = os.stat(cached).st_mtime_ns
    assert imported(place, PYTHONDONTWRITEBYTECODE="1") == [cached, plain, child]
    assert os.stat(cached).st_mtime_ns == made


@pytest.mark.process
def test_bytecode_stays_beside_its_module_where_it_may(place):
    cached, _, child = imported(place)
    assert child is None
    assert cached.startswith(str(place / "lib"))
    assert os.path.exists(cached)
    assert imported(place, PYTHONDONTWRITEBYTECODE="1") == [cached, imported(place)[1], None]  # it has been made before
    assert not compiled(place / "home")


@pytest.mark.process
def test_the_folder_of_the_user_is_used(place):
    cached, plain, child = imported(place, PYTHONPYCACHEPREFIX=str(place / "own"))
    assert child == str(place / "own")  # as it was
    assert cached.startswith(child)
    assert plain.startswith(child)
    assert not compiled(place / "home")


def test_blocks_of_threads_that_overlap_leave_the_settings_as_they_were(monkeypatch, tmp_path):
    monkeypatch.setattr(quick, "bytecode_folder", lambda: tmp_path)
    before = (sys.pycache_prefix, sys.dont_write_bytecode)
    begun, go_on = threading.Event(), threading.Event()

    def other():
        with quick.kept_bytecode():
            begun.set()
            go_on.wait()

    thread = threading.Thread(target=other)
    with quick.kept_bytecode():
        thread.start()
        begun.wait()
        assert (sys.pycache_prefix, sys.dont_write_bytecode) == (str(tmp_path), False)
    assert sys.pycache_prefix == str(tmp_path)
    go_on.set()
    thread.join()
    assert (sys.pycache_prefix, sys.dont_write_bytecode) == before


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_behind_the_block_as_before(collects):
    was = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with quick.quick_imports():
            assert not gc.isenabled()
        assert gc.isenabled() == collects
        assert gc.get_freeze_count() == 0
    finally:
        (gc.enable if was else gc.disable)()
