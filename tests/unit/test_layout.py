"""Tests are where a reader looks for them: in the folder of their room, named after a module of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests/unit"
WHOLE = {"docs", "package", "setup", "layout"}
"""Subjects of files beside the rooms that are no module: the pages, the package as a whole, `.ci/setup.py`, this."""
FILES = [str(path.relative_to(UNIT)) for path in sorted(UNIT.rglob("test_*.py"))]


@pytest.mark.parametrize("name", FILES)
def test_a_test_file_is_named_after_a_module_of_its_room(name: str) -> None:
    """`test_prefix.py` or `test_prefix_match.py` for `prefix.py`; the room's own name stands for all of it."""
    room = Path(name).parent
    source = ROOT / ".ci" if room == Path("ci") else ROOT / "workbench" / room
    assert source.is_dir(), f"there is no {source}"
    subjects = {path.stem for path in source.iterdir()} | ({room.name} if room.name else WHOLE)
    subject = Path(name).stem.removeprefix("test_")
    assert [one for one in subjects if subject == one or subject.startswith(f"{one}_")], f"{source} has no such module"


def test_make_test_runs_every_folder_of_tests():
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ntest: ")[2].partition("\ntest-fast: ")[0]
    folders = {f"tests/{path.parts[len(ROOT.parts) + 1]}" for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"tests/\w+", lines)) == folders
