"""The cache is one room: no module outside of it touches its tree or its pool."""

from __future__ import annotations

import re
from pathlib import Path

import workbench

ROOT = Path(workbench.__file__).parent


def test_modules_ask_the_cache_and_not_its_parts():
    found = {
        str(path.relative_to(ROOT)): lines
        for path in ROOT.rglob("*.py")
        if path.parent.name != "cache" and (lines := re.findall(r".*\bcache\.(?:tree|pool)\b.*", path.read_text()))
    }
    assert found == {}
