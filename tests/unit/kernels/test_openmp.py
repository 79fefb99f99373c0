from __future__ import annotations

import os

import pytest

from workbench.kernels.openmp import SPINS, share_cores


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, None)],
    ids=["nothing set", "count set", "policy set"],
)
def test_waiting_is_short_unless_the_user_chose(monkeypatch, before, after):
    rest = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    monkeypatch.setattr(os, "environ", rest | before)
    share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == after
