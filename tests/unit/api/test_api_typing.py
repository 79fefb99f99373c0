"""mypy on a user's script: correct uses pass with the right types, and each mistake is reported on its line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).parent / "user_script.py"


def test_a_type_checker_reports_the_mistakes_of_a_users_script_and_nothing_else():
    # With the settings of `make lint` and its cache, so that neither reads the package and what it imports a second time.
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", str(SCRIPT)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    reported: dict[int, list[str]] = {}
    for line, text in re.findall(r"user_script\.py:(\d+): error: (.*)", found.stdout):
        reported.setdefault(int(line), []).append(text)
    lines = enumerate(SCRIPT.read_text().splitlines(), 1)
    expected = {number: line.partition("# error: ")[2] for number, line in lines if "# error: " in line}
    assert reported.keys() == expected.keys(), found.stdout + found.stderr
    missing = {number: reported[number] for number, text in expected.items() if not any(text in one for one in reported[number])}
    assert missing == {}
