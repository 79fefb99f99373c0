from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workbench.kernels import torch_library

PROGRAM = """
import sys
from workbench.kernels.torch_library import load_ahead
thread = load_ahead()
thread.join()
assert "torch" not in sys.modules
assert "libtorch_cpu.so" in open("/proc/self/maps").read()
import torch
assert load_ahead() is None
print(int((torch.ones(3, 3) @ torch.ones(3, 3)).sum()))
"""


def is_cpu_build_of_linux():
    import torch

    return Path("/proc/self/maps").exists() and not (Path(torch.__file__).parent / "lib" / torch_library.CUDA).exists()


@pytest.mark.process
@pytest.mark.heavy
@pytest.mark.skipif(not is_cpu_build_of_linux(), reason="the library is loaded ahead for CPU builds on Linux")
def test_the_library_is_loaded_before_torch_which_then_computes():
    said = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout
    assert int(said) == 27


def test_a_library_that_does_not_load_is_left_to_the_import(tmp_path):
    for name in torch_library.FILES:
        (tmp_path / name).write_text("no library")
    torch_library._load(tmp_path)


@pytest.mark.parametrize("files", [[], [*torch_library.FILES, torch_library.CUDA]], ids=["no such files", "CUDA build"])
def test_other_builds_are_left_to_the_import(monkeypatch, tmp_path, files):
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").write_text("")
    for name in files:
        (tmp_path / "torch" / "lib" / name).write_text("")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert torch_library.load_ahead() is None
