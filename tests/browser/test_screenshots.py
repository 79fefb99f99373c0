"""The pictures of the README: made by `make screenshots`, and looked at here for what a program can see in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_png import small_png

from workbench.testing.jupyter import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.model]

LOAD = """%load_ext workbench
%wb load
from workbench.magics import session
engine = session.engine()"""
FILL = """system = "You are a helpful guide to the rivers of the world. Answer in one short sentence. "
asks = ["Name a river in Europe.", "Name a river in Asia.", "Which is the longest river?", "Which river flows through Vienna?",
        "Name a river in Africa.", "Which river did Caesar cross?"]
params = {"max_new_tokens": 24, "temperature": 0}
engine.generate([system + ask for ask in asks], params | {"ignore_eos": True})
engine.generate(system + asks[3] + " And where does it end?", params | {"regex": "[A-Z][a-z ]+[.]"});"""
PROGRAM = """from workbench import gen, select
session.program('''s += "The Danube is a river that" + gen("text", max_tokens=12, temperature=0)
for fork, word in zip(s.fork(2), ["long", "short"]):
    fork += f" Is it {word}?" + select("verdict", [" yes", " no"])''', dict(gen=gen, select=select));"""
TALK = """session.chat("Name a fruit.", temperature=0, max_tokens=10)
session.chat("And one more.", temperature=0, max_tokens=10);"""
FOLDER = os.environ.get("WORKBENCH_SCREENSHOTS")
TOO_WIDE = """[...document.querySelectorAll('.wb-live')].filter(view => view.scrollWidth > view.clientWidth + 1)
  .map(view => view.innerText)"""
CONTRAST = """view => {
  const linear = value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = colour => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map(value => linear(Number(value) / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const { color, backgroundColor } = getComputedStyle(view);
  const [a, b] = [light(color), light(backgroundColor)].sort((a, b) => b - a);
  return (a + 0.05) / (b + 0.05);
}"""
"""As WCAG counts it: 4.5 is the least for text."""


def test_pictures_of_the_views_are_readable_in_light_and_dark(notebook: Notebook, tmp_path: Path) -> None:
    notebook.page.set_viewport_size({"width": 1640, "height": 2600})
    views = {"dashboard": "%wb dashboard", "template": "%wb template"}
    notebook.open([LOAD, TALK, *views.values(), PROGRAM, FILL])
    notebook.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    for index in range(6):
        notebook.run(index)
    for index in (2, 3):
        notebook.view(index)
    notebook.output(2).locator("[data-node]").nth(1).click()
    notebook.page.wait_for_timeout(1500)  # what moved has come to rest
    for theme in ("Light", "Dark"):
        notebook.theme(theme)
        assert notebook.page.evaluate(TOO_WIDE) == []
        for index, name in enumerate(views, 2):
            output = notebook.output(index)
            shown = output.locator(".wb-live").all()
            assert min(view.evaluate(CONTRAST) for view in shown) >= 4.5
            picture = output.screenshot(path=tmp_path / f"{name}-{theme}.png")
            if FOLDER:
                Path(FOLDER, f"{name}-{theme.lower()}.png").write_bytes(small_png(picture))
    assert notebook.console == []
