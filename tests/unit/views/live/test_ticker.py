"""One message for all views of an engine: pages that receive it get the news, the views' own traits follow when a cell ends."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from growing_engine import Engine, drawn, wait_until
from tree_page import with_all_rows

from workbench.events import NodeEvicted, TokenSampled
from workbench.views.live import open_view
from workbench.views.live.feed import Feed, flush_all


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
    """Returns the ticker's news as a page joins them, {key: traits}, and the keys of each message."""
    heard: dict[str, Any] = {"messages": []}

    def send(content: Any, buffers: list[bytes]) -> None:
        told = json.loads(buffers[0])
        heard["messages"].append(set(told))
        for key, news in told.items():
            page = heard.setdefault(key, {})
            page.update(with_all_rows(news, page.get("rows", [])))

    Feed.of(engine.source).ticker.send = send
    return heard


def test_pages_that_hear_are_told_of_all_views_at_once_and_the_traits_follow_when_a_cell_ends(engine, views, told):
    tree, kv = views
    for view in views:
        view.answer({"do": "shown", "ticker": True})
    sent: list[str] = []
    for view in views:
        view.observe(lambda change: sent.append(change["name"]), names=["state", "rows"])
    engine.grow(3)
    wait_until(lambda: len(told.get(tree.key, {}).get("rows", ())) == 3)
    assert all(keys == {tree.key, kv.key} for keys in told["messages"])
    assert sent == []
    assert told[kv.key]["state"] == json.loads(json.dumps(kv.fold.state()))
    assert drawn(tree) == 0
    flush_all()
    assert drawn(tree) == 3
    assert json.loads(tree.get_state()["rows"]) == told[tree.key]["rows"]
    assert kv.state == kv.fold.state()


def test_rows_that_did_not_change_are_not_told_again(engine, views, told):
    tree, _ = views
    tree.answer({"do": "shown", "ticker": True})
    engine.grow(2)
    wait_until(lambda: len(told.get(tree.key, {}).get("rows", ())) == 2)
    told[tree.key].clear()
    engine.log.add(TokenSampled(time=1.0, rid="r", token_id=5, position=0))
    wait_until(lambda: told[tree.key])
    assert "rows" not in told[tree.key]


def test_a_large_tree_is_told_by_what_changed_in_it(engine, views, told):
    tree, _ = views
    tree.answer({"do": "shown", "ticker": True})
    engine.grow(300)
    wait_until(lambda: len(told.get(tree.key, {}).get("rows", ())) == 300)
    sizes: list[int] = []
    hear = Feed.of(engine.source).ticker.send
    Feed.of(engine.source).ticker.send = lambda content, buffers: (sizes.append(len(buffers[0])), hear(content, buffers))
    for number in range(301, 306):
        engine.grow()
        wait_until(lambda number=number: len(told[tree.key]["rows"]) == number)
    assert max(sizes) < 2000 < len(tree.fold.state()["rows"])
    flush_all()
    assert json.loads(tree.get_state()["rows"]) == told[tree.key]["rows"]


def test_a_page_hears_of_a_tree_that_ends_the_cell_as_it_began(engine, views, told):
    """Checks that a trait that is the same at the end of a cell as before it sends no message."""
    tree, _ = views
    tree.answer({"do": "shown", "ticker": True})
    before = tree.rows
    engine.grow(2)
    wait_until(lambda: len(told.get(tree.key, {}).get("rows", ())) == 2)
    for number in (1, 2):
        engine.log.add(NodeEvicted(time=1.0, node_id=number, num_tokens=1, score=0.0, needed_by=""))
    flush_all()
    assert tree.rows == before
    assert told[tree.key]["rows"] == []


def test_what_pages_hear_last_is_the_newest(engine, views):
    tree, _ = views
    tree.answer({"do": "shown", "ticker": True})
    words: list[int] = []
    is_sending = threading.Event()

    def send(content: Any, buffers: list[bytes]) -> None:
        is_sending.set()
        time.sleep(0.3)
        words.append(json.loads(buffers[0])[tree.key]["state"]["num_nodes"])

    Feed.of(engine.source).ticker.send = send
    tree.observe(lambda change: words.append(change["new"]["num_nodes"]), names="state")
    engine.grow(1)
    assert is_sending.wait(60)
    engine.grow(1)
    flush_all()
    wait_until(lambda: len(words) >= 3)
    assert words == sorted(words)
    assert words[-1] == 2


@pytest.mark.parametrize("hears", [[True, False], [False], [False, True]])
def test_a_page_without_a_way_to_the_ticker_gets_every_state_in_the_traits(engine, views, told, hears):
    tree, _ = views
    for one in hears:
        tree.answer({"do": "shown", "ticker": one})
    engine.grow(2)
    wait_until(lambda: drawn(tree) == 2)
    assert tree.key not in told
    tree.answer({"do": "hidden", "ticker": False})
    engine.grow(1)
    if True in hears:
        wait_until(lambda: len(told.get(tree.key, {}).get("rows", ())) == 3)
