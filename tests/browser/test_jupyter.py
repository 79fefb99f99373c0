"""Results in real JupyterLab and Notebook 7: the result of a cell is shown, and the page sends requests to this machine only."""

from __future__ import annotations

import pytest

from workbench.testing.jupyter import HOST, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.model]


@pytest.mark.parametrize("face", ["lab/tree", "notebooks"])
def test_a_result_is_shown_and_nothing_leaves_this_machine(notebook: Notebook, face: str) -> None:
    notebook.open(["%load_ext workbench\n%wb load", "%%wb_chat --temperature 0 --max-tokens 8\nName a fruit."], face=face)
    assert "smollm2-135m" in notebook.run(0)
    answer = notebook.run(1)
    assert "tokens" in answer
    assert notebook.console == []
    assert set(notebook.hosts) == {HOST}
