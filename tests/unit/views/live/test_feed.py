"""The feed: one thread per log, at most twenty states a second, and two plain lines when the engine ends."""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from growing_engine import Engine, drawn, wait_until
from random_runs import facts, open_core

from workbench.engine.snapshot import snapshot
from workbench.errors import InvalidRequest, UnknownParameter
from workbench.events import EventLog, NodeSplit, RequestArrived
from workbench.html.parts import View
from workbench.types import Request, SamplingParams
from workbench.views.live import VIEWS, Source, open_view
from workbench.views.live.feed import flush_all
from workbench.views.live.reader import Reader
from workbench.views.tokens.fold import TokensFold


@pytest.fixture
def engine():
    made = Engine()
    yield made
    made.ended = made.ended or "over"
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "workbench-views"])


def test_a_view_moves_by_itself_and_a_flush_shows_the_last_state_at_once(engine):
    widget = open_view(engine.source, "tree", live=True)
    engine.grow(3)
    wait_until(lambda: drawn(widget) == 3)
    engine.grow(2)
    flush_all()
    assert drawn(widget) == 5


def test_states_come_at_most_twenty_times_a_second_and_not_without_news(engine):
    widget = open_view(engine.source, "tree", live=True)
    began, states = time.monotonic(), []
    widget.observe(lambda change: states.append(drawn(widget)), names="state")
    while len(states) < 3:
        engine.grow()
        time.sleep(0.005)
    wait_until(lambda: states[-1] == engine.num_nodes)
    assert len(states) <= 20 * (time.monotonic() - began) + 1
    num_states = len(states)
    time.sleep(0.2)
    assert len(states) == num_states


def test_a_view_that_fell_behind_the_log_starts_afresh_from_a_snapshot():
    engine = Engine(capacity=10)
    engine.grow(50)
    assert len(open_view(engine.source, "tree", live=False).lines) == 50


def test_a_live_view_that_fell_behind_says_so_in_two_lines_and_keeps_on():
    engine = Engine(capacity=10)
    widget = open_view(engine.source, "tree", live=True)
    engine.grow()
    flush_all()
    assert widget.note == ""
    widget.answer({"do": "shown"})
    widget.answer({"do": "hidden"})
    engine.grow(50)
    widget.answer({"do": "shown"})
    assert widget.note.startswith("this view fell behind the event log")
    assert len(widget.note.splitlines()) == 2
    engine.grow()
    flush_all()
    assert drawn(widget) == 52
    late = open_view(engine.source, "tree", live=True)
    assert (drawn(late), late.note) == (52, ""), "one that is opened late has missed nothing"
    engine.ended = "over"


def test_a_view_of_what_has_ended_gets_what_the_log_still_holds_and_then_the_present_state():
    log = EventLog(capacity=60)
    core = open_core({"page_size": 1, "num_tokens": 400, "chunked_prefill_size": -1, "max_running_requests": 4}, log)
    for rid, num_steps in [*((f"r{i}", 20) for i in range(8)), ("runs", 4)]:
        params = SamplingParams(max_new_tokens=30 if rid == "runs" else 6, ignore_eos=True)
        core.add(Request(rid=rid, input_ids=(1, 2), params=params))
        for _ in range(num_steps):
            core.step()
    client = SimpleNamespace(ended="", engine=SimpleNamespace(snapshot=lambda: snapshot(core)))
    reader = Reader(Source(log, facts(core), lambda: client), TokensFold)
    reader.read()
    outputs = reader.fold.outputs
    (running,) = (seq for seq in core.scheduler.running)
    assert outputs["runs"].ids == running.output_ids
    ended = [event.rid for event in log.read()[1] if isinstance(event, RequestArrived) and event.rid != "runs"]
    assert ended
    assert all(len(outputs[rid].ids) == 6 and outputs[rid].finish for rid in ended)
    assert set(outputs) == {*ended, "runs"}


def test_a_view_on_an_engine_that_ended_says_so_in_two_lines_and_keeps_its_picture(engine):
    widget = open_view(engine.source, "tree", live=True)
    engine.grow(2)
    engine.ended = "the engine's process ended, exit code -9"
    wait_until(lambda: widget.note)
    assert widget.note.splitlines() == [
        "the engine's process ended, exit code -9",
        "this is its last state; make the engine again to go on",
    ]
    assert widget.ended
    assert drawn(widget) == 2
    assert drawn(open_view(engine.source, "tree", live=True)) == 2


def test_a_view_on_a_wrapped_log_of_a_dead_engine_draws_what_the_log_still_has():
    engine = Engine(capacity=10)
    engine.grow(50)
    engine.ended = "gone"
    assert len(open_view(engine.source, "tree", live=False).lines) == 10


def test_closing_the_last_view_ends_the_thread(engine):
    widgets = [open_view(engine.source, "tree", live=True) for _ in range(2)]
    assert "workbench-views" in [thread.name for thread in threading.enumerate()]
    for widget in widgets:
        widget.close()
    wait_until(lambda: "workbench-views" not in [thread.name for thread in threading.enumerate()])


def test_messages_from_the_page_are_answered_and_their_mistakes_too(engine):
    widget = open_view(engine.source, "tree", live=True)
    engine.grow()
    flush_all()
    replies: list[dict[str, Any]] = []
    widget.send = lambda message, buffers=None: replies.append(message)
    asked = [
        {"do": "abort", "rid": "r1"},
        {"do": "flush"},
        {"do": "detail", "id": 1},
        {"do": "detail", "id": 99},
        {"do": "dance"},
    ]
    for i, message in enumerate(asked):
        widget._handle_custom_msg({**message, "ask": i}, [])
    assert [message["ask"] for message in replies] == [0, 1, 2, 3, 4]
    aborted, flushed, node, missing, unknown = (message["reply"] for message in replies)
    assert (aborted, flushed, engine.aborted) == ({}, {"num_tokens": 7}, ["r1"])
    assert (node["text"], node["made_by"]) == ("1", "r")
    assert missing["error"].startswith("node is 99, it must be a node of the tree")
    assert "dance" in unknown["error"]


def test_a_hidden_view_costs_nothing_and_catches_up_when_it_is_shown_again(engine):
    widget = open_view(engine.source, "tree", live=True)
    for word in ("shown", "shown", "hidden"):
        widget.answer({"do": word})
    assert widget.is_shown, "one of two pages is left"
    widget.answer({"do": "hidden"})
    engine.grow(4)
    flush_all()
    assert drawn(widget) == 0
    widget.answer({"do": "shown"})
    assert drawn(widget) == 4


def test_the_saved_form_has_text_and_static_html_beside_the_widget(engine):
    engine.grow()
    bundle = open_view(engine.source, "tree", live=True)._repr_mimebundle_()[0]
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "text/plain", "text/html"}
    assert "<script" not in bundle["text/html"]


def test_a_name_that_is_no_view_is_refused(engine):
    with pytest.raises(InvalidRequest, match="'tee' is no view\ndid you mean 'tree'"):
        open_view(engine.source, "tee")


def test_without_a_kernel_a_view_is_a_still_picture(engine):
    assert isinstance(open_view(engine.source, "tree"), View)


def test_an_option_that_the_view_does_not_have_is_refused(engine):
    with pytest.raises(UnknownParameter, match="the view 'tree' has no parameter 'colour'"):
        open_view(engine.source, "tree", colour="red")


def test_a_selection_in_one_view_is_followed_by_all_of_the_engine_and_by_no_other(engine):
    first, second = (open_view(engine.source, "tree", live=True) for _ in range(2))
    other = open_view(Engine().source, "tree", live=True)
    first.selected = {"kind": "request", "id": "r1"}
    assert first.selection == second.selection == {"kind": "request", "id": "r1"}
    assert open_view(engine.source, "tree", live=True).selection == first.selection, "one that is opened later too"
    second.selected = {}
    assert (first.selection, other.selection) == (None, None)
    other.close()


def test_the_dashboard_holds_every_view_live_or_still(engine):
    engine.grow(2)
    dashboard = open_view(engine.source, "dashboard", live=True)
    assert set(dashboard.views) == {name for name, kind in VIEWS.items() if kind.in_dashboard}
    dashboard.views["tree"].selected = {"kind": "node", "id": 1}
    assert dashboard.selection == {"kind": "node", "id": 1}
    assert "text/html" in dashboard._repr_mimebundle_()[0]
    still = open_view(engine.source, "dashboard", live=False)
    assert "Radix tree: 2 nodes" in still.to_text()
    dashboard.close()
    assert not engine.source.feed.views


def test_a_fold_that_fails_at_an_event_goes_on_with_the_next_and_says_so(engine):
    widget = open_view(engine.source, "tree", live=True)
    engine.grow()
    engine.log.add(NodeSplit(time=0.0, node_id=1, head_id=2, num_head=None))
    engine.num_nodes = 6
    engine.grow()
    flush_all()
    assert json.loads(widget.get_state()["rows"])[-1][0] == 7
    assert widget.note.startswith("this view may be wrong: TypeError")
    assert len(widget.note.splitlines()) == 2


def test_a_message_that_cannot_be_sent_leaves_the_views_moving(engine, monkeypatch):
    def refuse(views):
        raise ValueError("no such line")

    widget = open_view(engine.source, "tree", live=True)
    monkeypatch.setattr(engine.source.feed, "ticker", SimpleNamespace(send_news=refuse))
    engine.grow()
    wait_until(lambda: widget.note.startswith("this view may be wrong: ValueError: no such line"))
    monkeypatch.undo()
    engine.grow()
    wait_until(lambda: drawn(widget) == 2 and widget.note == "")
