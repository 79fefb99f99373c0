"""The views of the engine's load in real JupyterLab: a request is picked in one, shown by the others, and aborted."""

from __future__ import annotations

import pytest

from workbench.testing.jupyter import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.model]

LOAD = """%load_ext workbench
%wb load
from workbench.magics import session
engine = session.engine()"""
RUN = """prompts = ["Once upon a time", "In the beginning", "The sea is"]
results = engine.generate(prompts, {"max_new_tokens": 2000, "ignore_eos": True}, rid=["one", "two", "three"])
print([result["meta_info"]["finish_reason"]["type"] for result in results])"""


def test_a_running_request_is_picked_told_by_the_other_views_and_aborted(notebook: Notebook) -> None:
    notebook.open(
        [
            LOAD,
            "%wb batch -o batch",
            "%wb kv",
            "%wb throughput -o load",
            RUN,
            "print(batch.selection == load.selection)",
            "%wb status --bandwidth",
        ]
    )
    for index in range(4):
        notebook.run(index)
    batch, kv, load = (notebook.view(index) for index in (1, 2, 3))
    load.locator(".js-plotly-plot").wait_for()
    notebook.start(4)
    batch.locator(".wb-lane[data-rid=two] button").click()
    kv.locator("text=two has").wait_for()
    assert kv.locator(".wb-selected").count() > 0
    assert batch.locator(".wb-lane.wb-selected").get_attribute("data-rid") == "two"
    assert notebook.is_running(4)
    # The marks move on and are replaced while the pointer travels: a click can fall between two of them.
    told = batch.locator("text=in it: ")
    for _ in range(20):
        where = batch.locator(".wb-tall").nth(1).bounding_box()
        assert where is not None
        notebook.page.mouse.click(where["x"] + where["width"] / 2, where["y"] + where["height"] / 2)
        notebook.page.wait_for_timeout(500)
        if told.count():
            break
    told.wait_for()
    for rid in ("one", "two", "three"):
        batch.locator(f".wb-lane[data-rid={rid}] button").click()
        batch.locator("button:has-text('abort it')").click()
    assert notebook.wait(4).strip() == "['abort', 'abort', 'abort']"
    assert notebook.run(5).strip() == "True"
    batch.locator("text=ended by abort").wait_for()
    read = load.locator(".wb-tile", has_text="memory read per token")
    assert read.inner_text().split("\n")[1].endswith(" MiB")
    assert "GiB/s" not in read.inner_text()
    assert "GiB/s" in notebook.run(6)
    read.locator("text=/% of .* GiB/").wait_for()
    assert "0 running, 0 waiting" in batch.inner_text()
    assert notebook.console == []
