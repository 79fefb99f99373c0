"""The live batch timeline, throughput and KV map: they send what their still pictures show."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from random_runs import facts, squeezed

pytest.importorskip("anywidget")

from workbench.errors import InvalidRequest
from workbench.views.live import Source, open_view
from workbench.views.live.feed import Feed
from workbench.views.live.still import RECORDS, Still
from workbench.views.throughput.figure import PLACES, figure


@pytest.fixture
def source():
    core = squeezed()
    client = SimpleNamespace(ended="", abort=lambda rid: None)
    source = Source(core.log, facts(core), lambda: client)
    yield source
    for view in list(Feed.of(source).views):
        view.close()


@pytest.mark.parametrize("name", ["batch", "throughput", "kv"])
def test_live_and_still_are_two_forms_of_one_picture(source, name):
    widget = open_view(source, name, live=True)
    still = open_view(source, name, live=False)
    assert repr(widget) == repr(still)
    data, _ = widget._repr_mimebundle_()
    assert data["text/html"] == still.to_html()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert len(json.dumps(widget.state)) < 100_000


def test_the_batch_sends_every_request_and_the_kv_map_every_page(source):
    batch, kv = (open_view(source, name, live=True) for name in ("batch", "kv"))
    assert [lane["rid"] for lane in batch.state["lanes"]] == ["a", "b", "long", "late"]
    assert batch.state["steps"]["number"] == list(range(1, 69))
    assert sum(int("".join(filter(str.isdigit, word.split("t")[0].split("f")[0]))) for word in kv.state["runs"].split()) == 72


def test_the_charts_hold_the_series(source):
    widget = open_view(source, "throughput", live=True, window=6)
    series = widget.fold.series()
    assert [list(trace.x) for trace in widget.chart.data] == [pytest.approx(series["t"])] * len(PLACES)
    for trace, name in zip(widget.chart.data, PLACES, strict=True):
        known = [value for value in series[name] if value is not None]
        assert [value for value in trace.y if value == value] == pytest.approx(known, rel=1e-5)
    plain = widget.figure()
    assert [list(trace.y) for trace in plain.data] == [list(series[name]) for name in PLACES]
    assert figure({name: [] for name in ("t", *PLACES)}).data


def test_a_click_in_the_charts_selects_the_step_in_every_view_and_a_step_is_marked(source):
    throughput, batch = (open_view(source, name, live=True) for name in ("throughput", "batch"))
    last = throughput.fold.series()["t"][-1]
    throughput._clicked(None, SimpleNamespace(xs=[last]), None)
    assert throughput.selection == batch.selection == {"kind": "step", "id": 68}
    assert {shape.x0 for shape in throughput.chart.layout.shapes} == {last}
    batch.selected = {"kind": "request", "id": "a"}
    assert throughput.selection == {"kind": "request", "id": "a"}
    assert not throughput.chart.layout.shapes


def test_a_question_about_what_never_was_is_answered_in_words(source):
    batch = open_view(source, "batch", live=True)
    assert batch.answer({"do": "detail", "kind": "request", "id": "long"})["says"].startswith("long: ")
    with pytest.raises(InvalidRequest, match="never"):
        batch.answer({"do": "detail", "kind": "request", "id": "never"})


def test_a_widget_is_saved_as_a_picture_or_as_a_page_that_plays_the_run(source, tmp_path):
    for name in ("batch", "dashboard"):
        widget = open_view(source, name, live=True)
        widget.save(tmp_path / "still.html")
        widget.save(tmp_path / "run.html", live=True)
        assert "wb-packed" not in (tmp_path / "still.html").read_text()
        assert "wb-packed" in (tmp_path / "run.html").read_text()


def test_the_picture_under_a_widget_holds_the_run_where_the_environment_asks_for_it(source, monkeypatch):
    monkeypatch.setenv(RECORDS, "1")
    widget = open_view(source, "kv", live=True)
    still = Still(source.log, widget.picture, widget.recording)
    assert "wb-packed" in still._outputs()["text/html"]
    assert still._outputs()["text/plain"] == str(widget.picture())
