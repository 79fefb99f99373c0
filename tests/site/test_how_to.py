"""The Python of every how-to page runs, in order, and prints what the page says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from unittest.mock import patch

import pytest

import workbench
from workbench.cache.eviction import EVICTION
from workbench.engine.policy import POLICIES
from workbench.errors import WorkbenchError

FOLDER = Path(__file__).parents[2] / "docs/how-to"
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
URL = "http://127.0.0.1:30000"
PAGES = sorted(path.stem for path in FOLDER.glob("*.md") if BLOCK.search(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def served(smollm2):
    """The server of the pages that ask one."""
    with workbench.Engine("smollm2-135m", max_total_tokens=4096) as engine, workbench.serve(engine, port=0) as served:
        yield served


@pytest.mark.heavy
@pytest.mark.parametrize("name", PAGES)
def test_the_python_of_a_page_does_what_the_page_says(name, request, smollm2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    if URL in "".join(code for code, _ in BLOCK.findall(page)):
        page = page.replace(URL, request.getfixturevalue("served").url)
    variables = {"__name__": "page"}
    with patch.dict(POLICIES), patch.dict(EVICTION):  # pages may add to them
        for code, says in BLOCK.findall(page):
            line = page[: page.index(code)].count("\n")
            shown = run("\n" * line + code, f"{name}.md", variables)
            assert not says or shown.strip("\n") == says.strip("\n"), f"{name}.md, the block at line {line}"


def run(code, name, variables):
    """Returns what the code prints; of an error that a user can cause, its class and lines."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(code, name, "exec", dont_inherit=True), variables)
        except WorkbenchError as error:
            printed.write(f"{type(error).__name__}: {error}")
    return printed.getvalue()
