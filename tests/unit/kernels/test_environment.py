from __future__ import annotations

import os
import subprocess
import sys

import pytest

from workbench.kernels.environment import CACHES, NUM_PRIMITIVES, SPINS, prepare_libraries


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, None)],
    ids=["nothing set", "count set", "policy set"],
)
def test_waiting_is_short_unless_the_user_chose(monkeypatch, before, after):
    rest = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    monkeypatch.setattr(os, "environ", rest | before)
    prepare_libraries()
    assert os.environ.get("GOMP_SPINCOUNT") == after


def test_what_the_user_set_for_onednn_stays(monkeypatch):
    rest = {name: value for name, value in os.environ.items() if name not in CACHES}
    monkeypatch.setattr(os, "environ", rest | {CACHES[0]: "9"})
    prepare_libraries()
    assert [os.environ[name] for name in CACHES] == ["9", NUM_PRIMITIVES]


MANY_SHAPES = """
from workbench.kernels.environment import prepare_libraries
prepare_libraries()
import psutil, torch
from workbench.model.linear import PackedWeight
layer, process = PackedWeight(torch.randn(256, 256)), psutil.Process()
def growth(rows):
    before = process.memory_info().rss
    for num in rows:
        layer.multiply(torch.randn(num, 256), None)
    return process.memory_info().rss - before
growth(range(33, 133))
print(growth(range(133, 833)))
"""


@pytest.mark.process
def test_products_of_many_sizes_leave_little_memory_behind():
    clean = {name: value for name, value in os.environ.items() if name not in CACHES}
    said = subprocess.run([sys.executable, "-c", MANY_SHAPES], check=True, capture_output=True, text=True, env=clean).stdout
    assert int(said) < 100e6  # 500e6 with the caches as they are
