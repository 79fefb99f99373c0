"""Programs folded from an engine's log: the newest is shown in its present state, each gap with its request."""

from __future__ import annotations

import json

import pytest
from program_events import P, engine_events, reached, story

from workbench.errors import InvalidRequest
from workbench.events import Event, PartFinished, ProgramFinished, ProgramStarted, RequestLinked, TokenSampled
from workbench.views import ProgramView
from workbench.views.fold import Facts
from workbench.views.program.fold import MAX_PARTS, MAX_PROGRAMS, MAX_TEXT, ProgramFold


def folded(events: list[Event], **options: str) -> ProgramFold:
    fold = ProgramFold(Facts(decode=lambda ids: " ".join(f"w{token}" for token in ids)), **options)
    for event in events:
        fold.apply(event)
    return fold


def started(program: str, name: str = "qa") -> ProgramStarted:
    return ProgramStarted(time=0.0, program=program, name=name, backend="Engine")


def under_way() -> list[Event]:
    return [started("p"), reached(0.1, 1, "gen", name="x"), RequestLinked(time=0.1, part=1, rid="r7", **P)]


def sampled(rid: str, token_id: int) -> TokenSampled:
    return TokenSampled(time=0.2, rid=rid, token_id=token_id, position=token_id)


def test_the_picture_of_a_finished_program_is_that_of_its_own_events():
    whole = [*story()[:9], *engine_events(), *story()[9:]]
    assert folded(whole).picture().to_dict() == ProgramView.of(story(), engine_events()).to_dict()


def test_a_picture_does_not_change_with_what_happens_later():
    fold = folded(story()[:-2])
    picture = fold.picture()
    before = picture.to_text()
    for event in story()[-2:]:
        fold.apply(event)
    assert picture.to_text() == before != fold.picture().to_text()


def test_the_text_of_a_generation_under_way_is_shown_as_it_grows():
    fold = folded([*under_way(), sampled("r7", 1), sampled("other", 9), sampled("r7", 2)])
    [part] = fold.state()["parts"]
    assert (part["text"], part["rid"], part["is_done"]) == ("w1 w2", "r7", False)
    assert "2 tokens so far" in part["facts"]
    fold.apply(PartFinished(time=0.9, part=1, text="done", **P))
    [part] = fold.state()["parts"]
    assert (part["text"], part["is_done"]) == ("done", True)


def test_what_concerns_no_program_changes_nothing():
    fold = folded(under_way())
    version = fold.version
    fold.apply(sampled("other", 1))
    fold.apply(PartFinished(time=0.9, part=1, text="x", program="of which the log lost the beginning"))
    assert fold.version == version


def test_the_newest_run_is_shown_or_the_one_that_was_asked_for():
    events = [started("old", "first"), ProgramFinished(time=1.0, program="old"), started("new", "second")]
    assert folded(events).state()["program"] == "new"
    assert folded(events, program="old").state()["program"] == "old"
    assert folded(events).state()["programs"] == [["old", "first", False], ["new", "second", True]]
    assert folded(events).detail({"id": "old"})["title"] == "Program first on Engine"
    with pytest.raises(InvalidRequest, match="one of old, new"):
        folded(events).detail({"id": "gone"})


def test_before_any_program_the_picture_says_so():
    assert "No program has run" in folded([]).picture().to_text()
    fold = folded(under_way(), program="<x>")
    assert fold.note.splitlines()[0] == "no program is called <x>, or it was too long ago"
    assert len(fold.note.splitlines()) == 2
    assert fold.picture().to_text() == fold.note
    assert "called &lt;x&gt;" in fold.picture().to_html()
    assert folded(under_way()).note == ""
    assert folded([]).state() == {"programs": []}


def test_a_state_stays_small_and_is_json():
    many = [reached(0.1, i, "text", text="x" * 2 * MAX_TEXT) for i in range(2, MAX_PARTS + 10)]
    state = folded([*under_way(), *many]).state()
    assert (len(state["parts"]), state["is_whole"]) == (MAX_PARTS, False)
    assert (len(state["parts"][1]["text"]), state["parts"][1]["num_left_out"]) == (MAX_TEXT, MAX_TEXT)
    json.dumps(folded([*story()[:9], *engine_events(), *story()[9:]]).state())
    assert len(folded([started(str(i)) for i in range(2 * MAX_PROGRAMS)]).runs) == MAX_PROGRAMS
