"""One message for all views of an engine: pages that hear it get what is new, the views' own traits follow when a cell ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from growing_engine import Engine, drawn, wait_until

from workbench.events import TokenSampled
from workbench.widgets import open_view
from workbench.widgets.feed import Feed, flush_all


@pytest.fixture
def engine():
    made = Engine()
    yield made
    made.ended = "over"


@pytest.fixture
def views(engine):
    return [open_view(engine.source, name, live=True) for name in ("tree", "kv")]


@pytest.fixture
def told(engine, views):
    """What a page would have heard, joined as it does: {key: traits}, and the number of messages."""
    heard: dict[str, Any] = {"messages": 0}

    def send(content: Any, buffers: list[bytes]) -> None:
        heard["messages"] += 1
        for key, traits in json.loads(buffers[0]).items():
            heard.setdefault(key, {}).update(traits)

    Feed.of(engine.source).ticker.send = send
    return heard


def test_pages_that_hear_are_told_of_all_views_at_once_and_the_traits_follow_when_a_cell_ends(engine, views, told):
    tree, kv = views
    for view in views:
        view.answer({"do": "shown", "hears": True})
    sent: list[str] = []
    for view in views:
        view.observe(lambda change: sent.append(change["name"]), names=["state", "rows"])
    engine.grow(3)
    wait_until(lambda: len(told.get(tree.key, {}).get("rows", ())) == 3)
    assert (told["messages"], sent) == (1, [])
    assert told[kv.key]["state"] == json.loads(json.dumps(kv.fold.state()))
    assert drawn(tree) == 0
    flush_all()
    assert drawn(tree) == 3
    assert json.loads(tree.get_state()["rows"]) == told[tree.key]["rows"]
    assert kv.state == kv.fold.state()


def test_rows_that_did_not_change_are_not_told_again(engine, views, told):
    tree, _ = views
    tree.answer({"do": "shown", "hears": True})
    engine.grow(2)
    wait_until(lambda: tree.key in told)
    told[tree.key].clear()
    engine.log.add(TokenSampled(time=1.0, rid="r", token_id=5, position=0))
    wait_until(lambda: told[tree.key])
    assert "rows" not in told[tree.key]


@pytest.mark.parametrize("hears", [[True, False], [False], [False, True]])
def test_a_page_without_a_way_to_the_ticker_gets_every_state_in_the_traits(engine, views, told, hears):
    tree, _ = views
    for one in hears:
        tree.answer({"do": "shown", "hears": one})
    engine.grow(2)
    wait_until(lambda: drawn(tree) == 2)
    assert tree.key not in told
    tree.answer({"do": "hidden", "hears": False})
    engine.grow(1)
    if True in hears:
        wait_until(lambda: len(told.get(tree.key, {}).get("rows", ())) == 3)
