"""The dashboard in a new notebook: each panel has a title and a line about how to fill it, and the columns leave no hole."""

from __future__ import annotations

from itertools import pairwise

import pytest

from workbench.testing.jupyter import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.model]

LOAD = """%load_ext workbench
%wb load
from workbench.magics import session
engine = session.engine()"""
FILL = """asks = [f"What is {i} and {i + 1}? It is" for i in range(60)]
engine.generate(asks, {"max_new_tokens": 3, "ignore_eos": True})
engine.generate("A river:", {"regex": " [A-Z][a-z]+", "max_new_tokens": 4});"""
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
"""Four people, one emoji."""
TITLES = ["Radix tree", "Throughput", "Batch", "Tokens", "Mask", "KV pool", "Program"]
BOXES = (
    "views => views.map(view => view.getBoundingClientRect()).map(({ left, right, top, bottom }) => [left, right, top, bottom])"
)
TOO_WIDE = "views => views.filter(view => view.scrollWidth > view.clientWidth + 1).map(view => view.innerText)"


def columns(boxes: list[list[float]]) -> list[list[list[float]]]:
    """Returns the panels of each column from top to bottom; those that are as wide as all are left out."""
    width = max(right for _, right, *_ in boxes) - min(left for left, *_ in boxes)
    narrow = [box for box in boxes if box[1] - box[0] < 0.9 * width]
    return [[box for box in narrow if box[0] == left] for left in sorted({box[0] for box in narrow})]


def leaves_no_hole(found: list[list[list[float]]]) -> bool:
    """Returns whether there are two columns whose panels follow each other and which end alike."""
    if len(found) != 2:
        return False
    close = all(below[2] - above[3] < 10 for column in found for above, below in pairwise(column))
    return close and abs(found[0][-1][3] - found[1][-1][3]) < 2


def test_every_panel_says_what_it_is_and_while_it_is_empty_what_fills_it(notebook: Notebook, settles) -> None:
    notebook.page.set_viewport_size({"width": 1640, "height": 2600})
    notebook.open([LOAD, "%wb dashboard", FILL])
    notebook.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    notebook.run(0)
    notebook.run(1)
    views = notebook.view(1)
    notebook.page.wait_for_function("document.querySelectorAll('.wb-live[data-draws]').length === 7")
    views.locator(".js-plotly-plot").wait_for()
    for view, title in zip(views.all(), TITLES, strict=True):
        assert view.locator("b").first.inner_text().startswith(title)
        assert len(view.locator(".wb-sees").inner_text()) > 40
        assert "%%wb_" in view.locator(".wb-empty").inner_text()
    notebook.run(2)
    for view, title in zip(views.all(), TITLES, strict=True):
        if title != "Program":
            view.locator(".wb-empty").wait_for(state="hidden")
    assert settles(lambda: leaves_no_hole(columns(views.evaluate_all(BOXES)))), views.evaluate_all(BOXES)
    batch = views.nth(2)
    assert settles(lambda: batch.locator("[data-rid]").count() == 40)
    assert batch.locator("[data-rid]:has-text('What is')").count() > 0
    batch.locator("button:has-text('those before them')").click()
    batch.locator("text=requests 41 to 61 of 61").wait_for()
    assert settles(lambda: batch.locator("[data-rid]").count() == 21)
    batch.locator("button:has-text('later ones')").click()
    batch.locator("text=requests 1 to 40 of 61").wait_for()
    notebook.page.set_viewport_size({"width": 700, "height": 2600})
    assert settles(lambda: columns(views.evaluate_all(BOXES)) == [])
    assert settles(lambda: views.evaluate_all(TOO_WIDE) == []), views.evaluate_all(TOO_WIDE)
    assert notebook.console == []


def test_what_token_views_need_is_said_and_an_open_one_has_it(notebook: Notebook) -> None:
    run = "%%wb_gen --max-tokens 4 --temperature 0\nThe sea is"
    notebook.open([LOAD, run, "%wb tokens", run, f"%%wb_gen --max-tokens 2\n{' '.join([FAMILY] * 5)}"])
    for index in range(3):
        notebook.run(index)
    view = notebook.view(2)
    view.locator("text=No colours: probability was not recorded while this request ran").wait_for()
    assert "--detail" in view.inner_text()
    notebook.run(3)
    view.locator("text=how likely the model held the token").wait_for()
    notebook.run(4)
    assert notebook.output(4).locator("details .wb-text").inner_text() == " ".join([FAMILY] * 5)
