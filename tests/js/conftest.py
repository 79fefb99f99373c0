"""Node. Without it these tests are skipped, or fail where WORKBENCH_REQUIRE_NODE is set."""

from __future__ import annotations

import os
import shutil

import pytest


@pytest.fixture(autouse=True)
def node() -> None:
    if shutil.which("node") is None:
        (pytest.fail if os.environ.get("WORKBENCH_REQUIRE_NODE") else pytest.skip)("Node is not installed")
