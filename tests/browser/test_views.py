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


def test_a_program_is_followed_while_it_writes(notebook: Notebook) -> None:
    program = """
from workbench import assistant, gen, select, user
from workbench.magics import session
state = session.program('''
s += user("Tell me about rivers.")
s += assistant(gen("answer", max_tokens=80, ignore_eos=True, temperature=0))
forks = s.fork(2)
for fork, word in zip(forks, ["long", "short"]):
    fork += user(f"Is it {word}?")
    fork += assistant(select("verdict", ["yes", "no"]))
forks.join()
''', dict(user=user, assistant=assistant, gen=gen, select=select))
"""
    notebook.open(
        [
            LOAD,
            "program = session.view('program')\nprogram",
            program,
            "print(program.selection, program.fold.shown.by_rid.keys())",
        ]
    )
    notebook.run(0)
    notebook.run(1)
    view = notebook.view(1)
    notebook.start(2)
    notebook.while_running(2, "() => (document.querySelector('.wb-open')?.textContent.length ?? 0) > 40")
    notebook.wait(2)
    notebook.page.wait_for_timeout(500)
    view.locator(".wb-gap").first.click()
    view.locator(".wb-line summary").first.click()
    for t in ("Light", "Dark"):
        notebook.theme(t)
        notebook.output(1).screenshot(path=f"/tmp/v4-program-{t}.png")
    print(notebook.run(3))
    assert notebook.console == []


def test_template(notebook: Notebook) -> None:
    notebook.open(
        [
            LOAD
            + "session.chat('Name a fruit.', temperature=0, max_tokens=8); session.chat('Another.', temperature=0, max_tokens=8);",
            "%wb template",
            "tree = engine.view('tree')\ntree",
            "print(tree.selection)",
        ]
    )
    notebook.run(0)
    notebook.run(1)
    notebook.run(2)
    view = notebook.view(1)
    view.locator("u[data-in]").nth(30).click()
    for t in ("Light", "Dark"):
        notebook.theme(t)
        notebook.output(1).screenshot(path=f"/tmp/v4-template-{t}.png")
    print(notebook.run(3))
    assert notebook.console == []
