"""Live views in a saved notebook that is opened again, on an exported page, after a restart, and after a stop."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter

from workbench.testing.jupyter import START_S, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.model]

LOAD = """%load_ext workbench
%wb load
from workbench.magics import session
engine = session.engine()"""
MANY = """asks = [f"{i} and {i + 1} are {2 * i + 1}." for i in range(250)]
engine.generate(asks, {"max_new_tokens": 2, "ignore_eos": True})
engine.generate("A river:", {"regex": " [A-Z][a-z]+", "max_new_tokens": 4});"""
VIEWS = ["%wb dashboard", "%wb tree", "%wb batch", "%wb kv"]
HEIGHTS = "() => [...document.querySelectorAll('.jp-OutputArea')].map(area => area.getBoundingClientRect().height)"
IS_OPEN = "count => window.jupyterapp?.shell?.currentWidget?.content?.widgets?.length === count"
HAS_TRIED = """async count => {
  const { context } = jupyterapp.shell.currentWidget;
  await context.sessionContext.ready;
  return context.sessionContext.session?.kernel?.status === "idle";
}"""
TALLEST = 1000
"""Pixels of a picture in a page that is not scrolled."""


def check_page(page, num_views: int) -> None:
    """Checks that no word of a missing model is there, and that every view is a picture of a usual height."""
    text = page.locator("body").inner_text()
    assert "Error displaying widget" not in text
    assert "a live view" not in text
    assert page.locator(".wb-live").count() == 0
    assert page.locator(".wb-still > .wb:visible").count() == num_views
    assert max(page.evaluate(HEIGHTS)) <= TALLEST
    for title in ("Radix tree: ", "Batch, steps ", "KV pool: "):
        assert title in text
    assert re.search("200 of [0-9]+ nodes are shown: %wb tree scrolls through all", text)
    assert "Those before them: %wb batch --skip 40" in text


def test_a_saved_notebook_shows_its_views_without_their_kernel(notebook: Notebook, tmp_path: Path) -> None:
    cells = [LOAD, *VIEWS, MANY]
    notebook.open(cells)
    for index in range(len(cells)):
        notebook.run(index)
    for index in range(1, len(VIEWS) + 1):
        notebook.view(index)
    notebook.page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    saved = notebook.server.root / "watched.ipynb"
    notebook.page.wait_for_function("!jupyterapp.shell.currentWidget.context.model.dirty")
    assert notebook.console == []
    for face in ("lab/tree", "notebooks"):
        notebook.page.goto("about:blank")
        notebook.server.stop_kernels()
        notebook.page.goto(f"{notebook.server.url}/{face}/{saved.name}?token={notebook.server.token}")
        notebook.page.wait_for_function(IS_OPEN, arg=len(cells), timeout=START_S * 1000)
        notebook.page.wait_for_function(HAS_TRIED, timeout=START_S * 1000)
        notebook.page.wait_for_function("document.body.textContent.includes('Error displaying widget')")  # it is there, unseen
        check_page(notebook.page, len(VIEWS))
    page = tmp_path / "exported.html"
    page.write_text(HTMLExporter().from_notebook_node(nbformat.read(saved, 4))[0])
    notebook.page.goto(page.as_uri())
    check_page(notebook.page, len(VIEWS))


def test_after_a_stop_and_after_a_restart_a_view_says_so_and_offers_nothing_that_cannot_work(notebook: Notebook) -> None:
    notebook.open([LOAD, "engine.view('tree')", "engine.view('tokens')", MANY, "%wb stop"])
    for index in range(4):
        notebook.run(index)
    tree, tokens = notebook.view(1), notebook.view(2)
    flush, search = tree.locator("button:has-text('flush')"), tree.locator("input[type=search]")
    node = tree.locator("[data-node]").first
    assert flush.is_visible()
    notebook.run(4)
    tree.locator(".wb-note:has-text('%wb load starts it again')").wait_for()
    assert not flush.is_visible()
    assert search.is_visible()
    node.click()
    tree.locator("text=made by").wait_for()  # the kernel still answers
    notebook.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    for view in (tree, tokens):
        view.locator(".wb-note:has-text('the kernel that drew this has ended')").wait_for()
        assert view.locator("[data-asks]:visible").count() == 0
        assert len(view.locator(".wb-note").inner_text().splitlines()) == 2
    tree.locator("[data-node]").nth(1).click()
    tree.locator(".wb-detail:has-text('the kernel that drew this has ended')").wait_for()
    assert notebook.console == []
