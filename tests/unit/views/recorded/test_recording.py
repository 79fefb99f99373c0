"""A recording: its page, its size, what it is without scripts."""

from __future__ import annotations

import json
import re
import zlib

import pytest
from random_runs import facts, squeezed

from workbench.errors import InvalidRequest, UnknownParameter
from workbench.views.live import VIEWS, Source, open_view
from workbench.views.live.opening import open_reader
from workbench.views.live.still import RECORDS
from workbench.views.recorded.opening import open_recording
from workbench.views.recorded.recording import LEAST_MOMENTS, record


@pytest.fixture(scope="module")
def source():
    core = squeezed()
    return Source(core.log, facts(core), lambda: None)


def unpacked(recording):
    return json.loads(zlib.decompress(recording.packed))


@pytest.mark.parametrize("name", [name for name in VIEWS if name != "template"])
def test_a_recording_ends_with_the_still_picture(source, name):
    recording = open_recording(source, name, moments=20)
    still = open_view(source, name, live=False)
    assert str(recording) == str(still)
    assert still.to_html() in recording.to_html()
    assert recording.to_dict() == still.to_dict()
    assert 2 <= len(recording.moments) <= 20
    assert len(unpacked(recording)["moments"]) == len(recording.moments)


def test_a_page_loads_nothing_and_is_small(source, tmp_path):
    recording = open_recording(source, "dashboard", moments=60)
    recording.save(tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text()
    assert len(text) < 400_000
    assert not re.search(r"""\bsrc=|\bhref=|url\(|\bimport\b ?[("'{]|https?://(?!www\.w3\.org)""", text)
    recording.save(tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text()).keys() == recording.to_dict().keys()


def test_a_cell_has_a_frame_or_in_a_build_of_a_site_what_the_site_plays(source, monkeypatch):
    recording = open_recording(source, "kv", moments=3)
    monkeypatch.delenv(RECORDS, raising=False)
    assert recording._repr_html_().startswith("<iframe srcdoc=")
    monkeypatch.setenv(RECORDS, "1")
    assert recording._repr_html_() == recording.to_html()


def test_a_large_recording_has_fewer_moments(source):
    readers = {"batch": open_reader(source, "batch", {})}
    whole = record(readers)
    small = record(readers, max_bytes=len(whole.packed) * 2 // 3)
    assert len(whole.moments) > len(small.moments) >= LEAST_MOMENTS
    assert whole.moments[-1] == small.moments[-1]
    assert len(small.packed) < len(whole.packed)
    assert len(record(readers, max_bytes=1).moments) == LEAST_MOMENTS


def test_what_no_view_has_is_refused(source):
    with pytest.raises(InvalidRequest, match="no view"):
        open_recording(source, "trees", moments=9)
    with pytest.raises(UnknownParameter):
        open_recording(source, "tree", moments=9, steps=3)
    with pytest.raises(InvalidRequest, match="moments"):
        open_recording(source, "tree", moments=1)


def test_a_log_that_lost_its_beginning_says_so():
    from workbench.events import EventLog

    whole = squeezed()
    log = EventLog(40)
    for event in whole.log.read()[1]:
        log.add(event)
    recording = open_recording(Source(log, facts(whole), lambda: None), "batch", moments=9)
    assert "lost" in unpacked(recording)["views"][0]["note"]
