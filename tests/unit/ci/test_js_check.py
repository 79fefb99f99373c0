"""`.ci/js/check.py`: without Node it prints the reason, and fails only if Node is required; its tools have exact versions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

JS = Path(__file__).parents[3] / ".ci" / "js"
pytestmark = pytest.mark.skipif(not JS.exists(), reason="not a checkout: .ci is missing")


@pytest.mark.process
@pytest.mark.parametrize(("env", "status"), [({}, 0), ({"WORKBENCH_REQUIRE_NODE": "1"}, 1)])
def test_without_node_nothing_is_checked(env: dict[str, str], status: int, tmp_path: Path) -> None:
    command = [sys.executable, JS / "check.py"]
    done = subprocess.run(command, env={"PATH": str(tmp_path), **env}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr == "JavaScript is not checked: node is not installed\n"


@pytest.mark.process
def test_a_registry_out_of_reach_is_named_and_fails_nothing(tmp_path: Path) -> None:
    for name, text in (("node", "exit 0"), ("npm", "echo out of reach >&2; exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    copy = tmp_path / "clone" / ".ci" / "js"
    shutil.copytree(JS, copy)
    command = [sys.executable, copy / "check.py"]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "WORKBENCH_REQUIRE_NODE": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == "out of reach\nnpm could not install them: JavaScript is not checked\n"


def test_the_tools_have_exact_versions_and_no_lock_file() -> None:
    versions = json.loads((JS / "package.json").read_text("utf-8"))["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values())
    assert not list(JS.glob("*lock*"))
