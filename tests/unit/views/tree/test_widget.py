"""The Python half of the live tree: the engine's clock on the page, and the name that a cell gives a clicked node."""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("anywidget")

from workbench.events import EventLog, NodeAdded
from workbench.views.fold import Facts
from workbench.views.live import Source, open_view
from workbench.views.live.feed import flush_all


@pytest.fixture
def source():
    log = EventLog(100)
    log.add(NodeAdded(time=time.monotonic(), node_id=1, parent_id=0, token_ids=(4,), pages=(4,), namespace="", rid="r"))
    client = SimpleNamespace(ended="", abort=lambda rid: None)
    source = Source(log, Facts(), lambda: client)
    source.client = client
    return source


@pytest.fixture
def widget(source):
    widget = open_view(source, "tree", live=True)
    yield widget
    widget.close()


def test_a_page_knows_by_the_wall_clock_how_long_ago_a_node_was_used(widget):
    used_at = json.loads(widget.get_state()["rows"])[0][4]
    assert time.time() - widget.epoch - used_at == pytest.approx(time.monotonic() - used_at, abs=1)


def test_the_clock_of_an_engine_that_ended_stands_still(widget, source):
    source.client.ended = "the engine was shut down"
    flush_all()
    assert widget.epoch is None
    assert "shut down" in widget.note


def test_a_clicked_node_tells_how_a_cell_asks_for_it(widget, source, monkeypatch):
    engine = SimpleNamespace(_source=source)
    for names, code in [
        ({}, "from workbench.magics import session; session.engine().cache.node(1)"),
        ({"other": SimpleNamespace(_source=None), "_hidden": engine, "number": 3, "mine": engine}, "mine.cache.node(1)"),
    ]:
        shell = SimpleNamespace(user_ns=names)
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert widget.answer({"do": "detail", "id": 1})["in_python"] == code
