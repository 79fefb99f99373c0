"""The live views in real JupyterLab with the default model: they move while a cell is blocked, follow each other, and act."""

from __future__ import annotations

import pytest

from workbench.bench.lab import HOST, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.model]

LOAD = """%load_ext workbench
%wb load
from workbench.magics import session
engine = session.engine()
"""
BUSY = """prompts = [f"Story number {i}: once upon a time there was" for i in range(12)]
for k in range(0, 12, 4):
    engine.generate(prompts[k:k + 4], {"max_new_tokens": 60, "ignore_eos": True, "temperature": 0})
"""


def test_the_tree_grows_while_a_cell_is_blocked(notebook: Notebook) -> None:
    notebook.open([LOAD, "tree = engine.view('tree')\ntree", BUSY, "print(tree.selection)"])
    notebook.run(0)
    notebook.run(1)
    view = notebook.view(1)
    notebook.watch(".wb-live")
    notebook.start(2)
    notebook.while_running(2, "() => document.querySelectorAll('[data-node]').length >= 4")
    notebook.wait(2)
    changes = notebook.changes()
    print("changes", len(changes), changes[-1] - changes[0])
    print({k: (len(v), v[-1] - v[0]) for k, v in notebook.sent.items()})
    view.locator("[data-node]").nth(1).click()
    assert "'kind': 'node'" in notebook.run(3)
    assert notebook.console == []
    assert set(notebook.hosts) == {HOST}
