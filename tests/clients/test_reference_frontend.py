"""The reference's own Python frontend runs its programs against this server, and makes what this package's frontend makes.

WORKBENCH_REFERENCE_PYTHON names a Python that has the reference's package (0.4.3); `make clients` makes one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[1] / "standins" / "frontend_programs.py"
PYTHON = os.environ.get("WORKBENCH_REFERENCE_PYTHON")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def results(python: str, module: str, url: str) -> dict:
    env = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "") if module == "workbench" else ""}
    made = subprocess.run([python, str(PROGRAMS), module, url], capture_output=True, text=True, timeout=500, env=env)
    assert made.returncode == 0, made.stderr[-3000:]
    return json.loads(made.stdout.splitlines()[-1])


@pytest.mark.skipif(PYTHON is None, reason="no environment with the reference's package; `make clients` makes one")
def test_both_frontends_make_the_same(url):
    theirs, ours = results(PYTHON, "sglang", url), results(sys.executable, "workbench", url)
    assert theirs.keys() == ours.keys()
    for name, made in theirs.items():
        assert made == ours[name], name
