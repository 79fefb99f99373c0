"""The live views in real JupyterLab with the default model: they move while a cell is blocked, follow each other, and act."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from workbench.testing.jupyter import HOST, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.model]

LOAD = """%load_ext workbench
%wb load
from workbench.magics import session
engine = session.engine()"""
BUSY = """params = {"max_new_tokens": 40, "ignore_eos": True, "temperature": 0}
for i in range(12):
    engine.generate(f"Story number {i}: once upon a time there was", params)"""
ENDLESS = """result = engine.generate("Once upon a time", {"max_new_tokens": 2000, "ignore_eos": True}, rid="endless")
print(result["meta_info"]["finish_reason"]["type"])"""
UNTIL_SEEN = """import os, time
while not os.path.exists("seen"):
    time.sleep(0.05)
os.remove("seen")"""
EVICTED = f"""few = {{"max_new_tokens": 2, "ignore_eos": True}}
engine.generate("Name a river. " * 9, few)
engine.generate("Once upon a time", {{"max_new_tokens": 230, "ignore_eos": True}}, rid="story")
engine.generate("Name a river. " * 9, few, rid="again");
{UNTIL_SEEN}"""
TALK = """session.chat("Name a fruit.", temperature=0, max_tokens=8)
session.chat("Another one.", temperature=0, max_tokens=8);"""
PROGRAM = """from workbench import assistant, gen, select, user
names = dict(user=user, assistant=assistant, gen=gen, select=select)
session.program('''
s += user("Tell me about rivers.")
s += assistant(gen("answer", max_tokens=200, ignore_eos=True, temperature=0))
forks = s.fork(2)
for fork, word in zip(forks, ["long", "short"]):
    fork += user(f"Is it {word}?")
    fork += assistant(select("verdict", ["yes", "no"]))
forks.join()
''', names);"""

NUM_NODES = "document.querySelectorAll('[data-node]').length"


def rate(times: list[float]) -> float:
    return (len(times) - 1) / (times[-1] - times[0])


LINES = """tree => [...tree.querySelectorAll(".wb-outline [data-node]")]
  .map(({ style, className, innerHTML }) => [style.transform, className.replace(/ *wb-(new|split|gone)/, ""), innerHTML])
  .map(([place, marks, text]) => [place, marks, text.replace(/idle \\d+ s|used just now/, "idle")]).sort()"""
"""Every line of a tree that is drawn: its place and its looks."""


@pytest.mark.parametrize("face", ["lab/tree", "notebooks"])
def test_the_dashboard_moves_while_a_cell_is_blocked(notebook: Notebook, face: str, settles) -> None:
    hears = "print([name for name, view in dashboard.views.items() if view._has_ticker])"
    notebook.open([LOAD, "%wb dashboard -o dashboard", BUSY, hears, "%wb tree"], face=face)
    notebook.run(0)
    notebook.run(1)
    tree = notebook.view(1).first
    before = notebook.page.evaluate(NUM_NODES)
    notebook.watch(".wb-live")
    notebook.start(2)
    tree.scroll_into_view_if_needed()  # out of sight it is not drawn
    # The rate depends on the machine: `workbench bench views` measures it.
    notebook.while_running(2, f"before => {NUM_NODES} >= before + 4 && window.wbChanges.length >= 8", before)
    notebook.wait(2)
    # A cell that ends sends one state more, whenever the last was.
    assert {comm: rate(times[:-1]) for comm, times in notebook.sent.items() if len(times) > 20 and rate(times[:-1]) > 20} == {}
    assert notebook.sent
    heard = ast.literal_eval(notebook.run(3))
    assert {"tree", "batch", "kv"} <= set(heard), "one message moved all views"
    notebook.run(4)
    notebook.view(4).scroll_into_view_if_needed()
    # Lines that move come to rest.
    assert settles(lambda: tree.evaluate(LINES) == notebook.view(4).evaluate(LINES)), tree.evaluate(LINES)
    assert len(tree.evaluate(LINES)) >= 5
    assert notebook.console == []
    assert set(notebook.hosts) == {HOST}


def test_a_node_is_clicked_its_text_read_and_the_other_views_follow_while_the_kernel_is_busy(notebook: Notebook) -> None:
    cells = [LOAD, TALK, "%wb tree -o tree", "%wb template -o template", UNTIL_SEEN]
    notebook.open([*cells, "print(tree.selection, template.selection, engine.cache.node(tree.selection['id']).text)"])
    for index in range(4):
        notebook.run(index)
    tree, template = notebook.view(2), notebook.view(3)
    notebook.start(4)
    tree.locator("[data-node]").first.click()
    chosen = template.locator("u.wb-selected")
    chosen.first.wait_for()
    followed = "".join(chosen.all_text_contents())
    assert notebook.is_running(4)
    (notebook.server.root / "seen").touch()
    notebook.wait(4)
    tree.locator(".wb-detail .wb-text").wait_for()
    said = notebook.run(5)
    assert said.startswith("{'kind': 'node', 'id': ")
    assert said.count("'kind': 'node'") == 2
    assert "Name a fruit." in followed
    assert followed in said
    assert "Name a fruit." in tree.locator(".wb-detail .wb-text").inner_text()
    assert notebook.console == []


@pytest.mark.parametrize("face", ["lab/tree", "notebooks"])
def test_a_request_is_aborted_from_the_view_while_its_cell_runs(notebook: Notebook, face: str) -> None:
    notebook.open([LOAD, "%wb tree", ENDLESS], face=face)
    notebook.run(0)
    notebook.run(1)
    view = notebook.view(1)
    notebook.start(2)
    view.locator("button[aria-label='abort endless']").click()
    assert notebook.wait(2).strip() == "abort"
    assert notebook.console == []


def test_what_left_the_cache_is_told_under_the_tree_while_the_kernel_is_busy(notebook: Notebook, tmp_path: Path) -> None:
    load = LOAD.replace("%wb load", "%wb load --max-total-tokens 256 --context-length 250")
    wanted = "print({node.wanted_by for node in engine.cache.evictions().nodes} - {''})"
    notebook.open([load, "%wb tree", EVICTED, wanted])
    notebook.run(0)
    notebook.run(1)
    view = notebook.view(1)
    notebook.start(2)
    view.locator("summary", has_text="evicted, the last for ").click()
    row = view.locator(".wb-journal tr", has_text="by again, ")
    row.wait_for(timeout=120_000)
    assert "Name a river." in row.inner_text()
    assert "story" in row.inner_text()
    assert notebook.is_running(2)
    view.screenshot(path=tmp_path / "evictions.png")
    (notebook.server.root / "seen").touch()
    notebook.wait(2)
    assert notebook.run(3).strip() == "{'again'}"
    assert notebook.console == []


def test_a_program_is_followed_while_it_writes(notebook: Notebook) -> None:
    notebook.open([LOAD, "%wb program -o view", PROGRAM, "print(view.selection['id'] in view.fold.shown.by_rid)"])
    notebook.run(0)
    notebook.run(1)
    view = notebook.view(1)
    notebook.start(2)
    notebook.while_running(2, "() => (document.querySelector('.wb-open')?.textContent.length ?? 0) > 40")
    notebook.wait(2)
    view.locator(".wb-branch .wb-gap").nth(1).wait_for()
    assert view.locator(".wb-branch .wb-gap").all_text_contents()[0] in ("yes", "no")
    view.locator(".wb-gap").first.click()
    view.locator(".wb-line.wb-selected").wait_for()
    assert notebook.run(3).strip() == "True"
    assert notebook.console == []


def test_a_view_of_an_engine_that_stopped_says_so_and_stays(notebook: Notebook) -> None:
    notebook.open([LOAD, TALK, "%wb tree", "%wb stop", "1 + 1"])
    for index in range(4):
        notebook.run(index)
    note = notebook.view(2).locator(".wb-note")
    note.wait_for()
    assert len(note.inner_text().splitlines()) == 2
    assert "shut down" in note.inner_text()
    assert notebook.view(2).locator("[data-node]").count() > 0
    assert notebook.run(4).split()[-1] == "2"
    assert notebook.console == []


def test_what_was_asked_for_and_is_not_there_is_said_in_two_lines_and_the_rest_goes_on(notebook: Notebook) -> None:
    ask = "engine.generate('The sea is', {'max_new_tokens': 4, 'regex': ' [a-z ]+'}, rid='asked');"
    views = ["%wb tokens nobody", "%wb mask nobody", "%wb program nobody", "%wb mask asked --step 99", "%wb mask asked --step 1"]
    notebook.open([LOAD, ask, *views, "engine.generate('The sea is', {'max_new_tokens': 2})['meta_info']['completion_tokens']"])
    for index in range(len(views) + 2):
        notebook.run(index)
    firsts = ["no request is called nobody", "no request is called nobody", "no program is called nobody", "there is no step 99"]
    for index, first in enumerate(firsts, 2):
        note = notebook.view(index).locator(".wb-note")
        note.wait_for()
        assert note.inner_text().startswith(first)
        assert len(note.inner_text().splitlines()) == 2
    notebook.view(6).locator("text=tokens may come").wait_for()
    assert notebook.run(7).split()[-1] == "2"
    assert notebook.console == []
