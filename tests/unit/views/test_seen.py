"""Views show the pictures of prompts: in a node, before the tokens of a request, and among the tokens of a step."""

from __future__ import annotations

import pytest
from random_runs import facts

from workbench.events import PictureNumbered
from workbench.testing import FoldReader, make_core, make_request, run_to_end
from workbench.types import Picture
from workbench.views import seen
from workbench.views.batch.fold import BatchFold
from workbench.views.batch.words import about_step
from workbench.views.seen import SeenPictures
from workbench.views.tokens.fold import TokensFold
from workbench.views.tree.fold import TreeFold

PROMPT = (5, 6, *[9] * 4, 8)
WORDS = {"a": "picture 1: 4 tokens, 40 x 30 pixels", "b": "video 2: 4 tokens, 40 x 30 pixels"}


def picture(name: str) -> Picture:
    return Picture(
        digest=name, arrays={}, num_tokens=4, places=((2, 4),), kind="image" if name == "a" else "video", width=40, height=30,
        thumbnail=f"data:image/png;base64,{name}",
    )  # fmt: skip


@pytest.fixture(params=[False, True], ids=["whole log", "snapshot"])
def readers(request: pytest.FixtureRequest):
    """Returns folds of a core that has seen both pictures, one from its log and one from a snapshot."""
    core = make_core(sees=True)
    for name in "ab":
        core.add(make_request(name, PROMPT, 2, pictures=(picture(name),)))
        if name == "a":
            run_to_end(core)
    folds = {kind: FoldReader(core, lambda kind=kind: kind(facts(core))) for kind in (TreeFold, TokensFold, BatchFold)}
    if request.param:
        for reader in folds.values():
            reader.restart()
    run_to_end(core)
    return {kind.__name__: reader.read() for kind, reader in folds.items()}


def test_a_node_shows_its_pictures(readers):
    tree = readers["TreeFold"]
    found = {one.words: node for row in tree.nodes.walk() if (node := tree.node(row.id)) for one in node.pictures}
    assert set(found) == set(WORDS.values())
    node = found[WORDS["b"]]
    assert node.to_html().count('<img src="data:image/png;base64,b"') == 1
    assert ("pictures", WORDS["b"]) in node.facts()
    assert tree.detail({"id": node.id})["pictures"] == [{"words": WORDS["b"], "thumbnail": "data:image/png;base64,b"}]


def test_the_tokens_of_a_request_stand_behind_its_pictures(readers):
    tokens = readers["TokensFold"]
    tokens.show("b")
    strip = tokens.picture()
    assert f"Its prompt has {WORDS['b']}" in strip.to_text()
    assert strip.to_html().count("<img") == 1
    assert [one["words"] for one in tokens.state()["pictures"]] == [WORDS["b"]]


def test_a_step_counts_the_tokens_of_pictures(readers):
    batch = readers["BatchFold"]
    steps = [step for step in batch.steps if step.num_pictured]
    assert {step.num_pictured for step in steps} == {4}
    assert "4 of them of pictures" in about_step(steps[-1])
    assert sum(batch.state()["steps"]["pictured"]) == sum(step.num_pictured for step in batch.steps)


def test_known_pictures_are_bounded_and_come_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(seen, "MAX_KNOWN", 2)
    known = SeenPictures()
    for number in (1, 2, 3):
        known.add(
            PictureNumbered(time=0, number=number, digest="", kind="image", num_tokens=1, width=0, height=0, thumbnail="")
        )  # fmt: skip
    assert [one.words for one in known.of([3, 1, 2, 3])] == ["picture 3: 1 token", "picture 2: 1 token"]
    assert known.in_tokens((4, 5)) == ()
