"""`ProgramView` is a fold over events: the tree, its sums, and pictures in which nothing acts."""

from __future__ import annotations

import json

from workbench.events import (
    PartFinished,
    PartReached,
    ProgramFinished,
    ProgramStarted,
    RequestArrived,
    RequestFinished,
    RequestLinked,
    RequestScheduled,
    TokenSampled,
)
from workbench.views import ProgramView, Timings

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e</div>"
P = {"program": "p"}


def reached(time, part, kind, branch=(), **more):
    return PartReached(time=time, part=part, kind=kind, branch=branch, **P, **more)


def story(text="Paris"):
    return [
        ProgramStarted(time=0.0, name="qa", backend="Engine", model="m", **P),
        reached(0.1, 1, "rolebegin", name="user"),
        reached(0.1, 2, "text", text=f"Q {text}"),
        reached(0.1, 3, "roleend", name="user"),
        reached(0.2, 4, "fork", detail="2 states"),
        reached(0.3, 5, "text", (0, 0), text="L"),
        reached(0.3, 6, "text", (0, 1), text="R"),
        reached(0.4, 7, "gen", (0, 1), name="x", detail="regex [a-z]+", place="line 3 of qa.py"),
        RequestLinked(time=0.4, part=7, rid="r7", **P),
        reached(0.4, 8, "fork", (0, 0), detail="1 states"),
        reached(0.5, 9, "select", (0, 0, 0, 0), name="y", detail="token_length_normalized of 'a', 'b'"),
        PartFinished(time=0.9, part=7, text=text, num_prompt=10, num_cached=6, num_output=2, finish="length limit",
                     logprobs=((text, -0.5),), **P),
        PartFinished(time=1.0, part=9, text="b", scores=(("a", "-2.000"), ("b", "-1.000")), **P),
        reached(1.1, 10, "gen", name="z"),
        ProgramFinished(time=2.0, **P),
    ]  # fmt: skip


def engine_events():
    return [
        RequestArrived(time=10.0, rid="r7", num_prompt=10, max_new_tokens=2),
        RequestArrived(time=10.0, rid="other", num_prompt=10, max_new_tokens=2),
        RequestScheduled(time=10.1, rid="r7", num_cached=6, num_pending=4),
        TokenSampled(time=10.3, rid="r7", token_id=1, position=0),
        RequestFinished(time=10.7, rid="r7", reason="length", detail="", num_prompt=10, num_cached=6, num_output=2),
    ]


def test_the_tree_is_that_of_the_program():
    view = ProgramView.of(story(), engine_events())
    assert [part.kind for part in view.parts] == ["rolebegin", "text", "fork", "gen"]
    left, right = view.parts[2].branches
    assert [part.kind for part in left] == ["text", "fork"]
    assert [part.name for part in left[1].branches[0]] == ["y"]
    assert [part.kind for part in right] == ["text", "gen"]
    gen = right[1]
    assert (gen.text, gen.rid, gen.num_cached, round(gen.seconds, 3)) == ("Paris", "r7", 6, 0.5)
    assert [round(t, 3) for t in (gen.timings.queue_s, gen.timings.prefill_s, gen.timings.decode_s)] == [0.1, 0.2, 0.4]
    assert isinstance(gen.timings, Timings)
    assert view.seconds == 2.0
    assert view.parts[3].facts == "not finished"


def test_the_text_says_who_wrote_what_and_what_it_cost():
    text = ProgramView.of(story()).to_text()
    assert text.splitlines()[0] == "Program qa on Engine m: 3 calls, 2 tokens made, 6 of 10 prompt tokens reused, 2.00 s"
    for line in ("[user]", "text  'Q Paris'", "fork into 2 states", "+- 1", "|  gen x  'Paris'", "|  |  select y  'b'"):
        assert line in text.splitlines()
    assert "2 tokens, length limit, prompt 10, 6 reused, 500 ms; regex [a-z]+; request r7" in text


def test_the_picture_folds_away_constraint_scores_logprobs_and_times():
    html = ProgramView.of(story(), engine_events()).to_html()
    folded = html.split("<details>")[1:]
    assert len(folded) == 3
    inside = [part.split("</details>")[0] for part in folded]
    right = next(part for part in inside if "r7" in part)
    for word in ("regex [a-z]+", "line 3 of qa.py", "log-probability", "prefill"):
        assert word in right
    assert any("-1.000" in part for part in inside)
    assert "<script" not in html


def test_hostile_text_stays_text():
    view = ProgramView.of([*story(HOSTILE)[:-1], ProgramFinished(time=2.0, error=HOSTILE, **P)])
    for shown in (view.to_html(), view.to_text()):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "<script>" not in view.to_html()
    assert view.to_html().count("</div>") == view.to_html().count("<div")


def test_a_failed_and_a_running_program_say_so(tmp_path):
    running = ProgramView.of(story()[:-1])
    assert running.to_text().splitlines()[0].endswith(", running")
    failed = ProgramView.of([*story()[:-1], ProgramFinished(time=2.0, error="it broke", **P)])
    assert failed.to_text().endswith("failed: it broke")
    failed.save(tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text())["error"] == "it broke"


def test_what_a_rerun_kept_counts_for_nothing():
    events = story()
    events[11] = PartFinished(time=0.9, part=7, text="Paris", num_prompt=10, num_cached=6, num_output=2, replayed=True, **P)
    view = ProgramView.of(events)
    assert "0 tokens made, 0 of 0 prompt tokens reused" in view.summary()
    assert "given by the rerun" in view.to_text()
