"""Each view has a line about its contents and one about how to fill it, with magics or Python as the engine was opened."""

from __future__ import annotations

import re

import pytest
from growing_engine import Engine, wait_until

from workbench.events import RequestArrived, RequestFinished, TokenSampled
from workbench.views.advice import ATTACHED, ATTACHED_BY_MAGIC, IN_MAGICS, IN_PYTHON, ON_PAGE
from workbench.views.fold import Facts
from workbench.views.live import VIEWS, Source, open_view
from workbench.views.mask.fold import MaskFold
from workbench.views.program.fold import ProgramFold
from workbench.views.tokens.fold import TokensFold

IN_DASHBOARD = [name for name, kind in VIEWS.items() if kind.in_dashboard]


FILLS = [
    (IN_MAGICS, r"%%wb_(chat|gen|program)"),
    (IN_PYTHON, r"backend=engine$|engine\.generate\("),
    (ATTACHED, r"\bserver$|backend=workbench\.RuntimeEndpoint"),
    (ATTACHED_BY_MAGIC, r"\bserver$|backend=workbench\.RuntimeEndpoint"),
    (ON_PAGE, r"send a chat message$|\bserver$|backend=workbench\.RuntimeEndpoint"),
]
"""Words for each place: an attached engine generates nothing, and a page has no Python."""


@pytest.mark.parametrize("advice, fills", FILLS)
@pytest.mark.parametrize("name", IN_DASHBOARD)
def test_an_empty_view_says_what_fills_it_also_as_a_picture(name, advice, fills):
    fold = VIEWS[name].fold(Facts(advice=advice))
    assert len(fold.sees) > 40
    assert re.search(fills, fold.empty)
    assert ("%" in fold.empty) == (advice is IN_MAGICS)
    assert ("engine.generate" in fold.empty or "=engine" in fold.empty) == (advice is IN_PYTHON)
    assert fold.empty in fold.picture().to_text() or name in ("throughput", "kv")  # these show their numbers instead
    body = re.sub("&quot;", '"', fold.picture().body().replace("&#x27;", "'"))
    assert fold.empty in body
    assert fold.sees in body
    assert "<b>" in body


@pytest.mark.parametrize("name", IN_DASHBOARD)
def test_a_page_is_told_what_one_sees_and_that_there_is_nothing_yet(name):
    engine = Engine()
    widget = open_view(engine.source, name, live=True)
    try:
        assert widget.sees == widget.fold.sees
        assert widget.state["empty"] == widget.fold.empty
    finally:
        widget.close()


def test_a_tree_that_has_nodes_says_no_more_what_fills_it():
    engine = Engine()
    widget = open_view(engine.source, "tree", live=True)
    engine.grow(1)
    try:
        wait_until(lambda: "empty" not in widget.state)
    finally:
        widget.close()


@pytest.mark.parametrize("advice, opens", [(IN_MAGICS, "%wb {}"), (IN_PYTHON, 'engine.view("{}")')])
def test_notes_name_what_one_types_where_the_engine_was_made(advice, opens):
    facts = Facts(advice=advice)
    for fold, name in (
        (TokensFold(facts, rid="x"), "tokens"),
        (MaskFold(facts, rid="x"), "mask"),
        (ProgramFold(facts, "x"), "program"),
    ):
        assert fold.note.splitlines()[1] == f"{opens.format(name)} without an id shows the newest"
        assert fold.empty == ""


@pytest.mark.parametrize(
    "advice, again",
    [
        (IN_MAGICS, "%wb load starts it again"),
        (IN_PYTHON, "make the engine again to go on"),
        (ATTACHED, "workbench.attach(url) follows the server again"),
        (ON_PAGE, "this page goes on when the server does"),
    ],
)
def test_the_end_of_an_engine_is_told_with_what_opens_it_again(advice, again):
    engine = Engine()
    engine.source = Source(engine.log, Facts(advice=advice), lambda: engine)
    widget = open_view(engine.source, "tree", live=True)
    assert not widget.ended
    engine.ended = "the engine was shut down"
    wait_until(lambda: widget.ended)
    assert widget.note == f"the engine was shut down\nthis is its last state; {again}"
    widget.close()


@pytest.mark.parametrize(
    "advice, how", [(IN_MAGICS, "--detail"), (IN_PYTHON, "with engine.token_detail():"), (ON_PAGE, "token detail")]
)
def test_a_strip_without_token_detail_says_how_the_next_has_it(advice, how):
    fold = TokensFold(Facts(advice=advice))
    for event in (
        RequestArrived(time=0.0, rid="a", num_prompt=1, max_new_tokens=4),
        TokenSampled(time=1.0, rid="a", token_id=1, position=0),
        RequestFinished(time=2.0, rid="a", reason="length", detail="", num_prompt=1, num_cached=0, num_output=1),
    ):
        fold.apply(event)
    assert how in fold.picture().body()
    assert "was not recorded" in fold.picture().body()


def test_an_engine_that_the_magics_load_is_known_as_theirs():
    from workbench.magics.session import Session

    made = []

    class Opened:
        advice = IN_PYTHON

        def shutdown(self) -> None:
            pass

    def open_engine(args, *, process, progress):
        made.append(Opened())
        return made[-1]

    session = Session(open_engine, lambda *args: None)
    session.load("some-model")
    assert made[0].advice is IN_MAGICS
    session.close()
    assert Opened.advice is IN_PYTHON
