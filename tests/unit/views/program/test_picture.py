"""`ProgramView` is a fold over events: the tree, its sums, and pictures in which nothing acts."""

from __future__ import annotations

import json
import re

from program_events import P, engine_events, reached, story

from workbench.events import (
    PartFinished,
    ProgramFinished,
    ProgramStarted,
    RequestLinked,
)
from workbench.views import ProgramView, Timings

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e</div>"


def test_the_tree_is_that_of_the_program():
    view = ProgramView.of(story(), engine_events())
    assert [part.kind for part in view.parts] == ["rolebegin", "text", "roleend", "fork", "gen"]
    left, right = view.parts[3].branches
    assert [part.kind for part in left] == ["text", "fork"]
    assert [part.name for part in left[1].branches[0]] == ["y"]
    assert [part.kind for part in right] == ["text", "gen"]
    gen = right[1]
    assert (gen.text, gen.rid, gen.num_cached, round(gen.seconds, 3)) == ("Paris", "r7", 6, 0.5)
    assert [round(t, 3) for t in (gen.timings.queue_s, gen.timings.prefill_s, gen.timings.decode_s)] == [0.1, 0.2, 0.4]
    assert isinstance(gen.timings, Timings)
    assert view.seconds == 2.0
    assert view.parts[4].facts == "not finished"


def test_the_text_says_who_wrote_what_and_what_it_cost():
    text = ProgramView.of(story()).to_text()
    assert text.splitlines()[:2] == ["Program qa on Engine m", "3 calls, 2 tokens made, 6 of 10 prompt tokens reused, 2.00 s"]
    for line in (
        "[user]", "text  'Q Paris'", "fork into 2 states", "+- 1", "|  gen x  'Paris'", "|  |  select y  'b'",
        "|      2 tokens, length limit, 6 of 10 prompt tokens reused, 500 ms", "|      regex [a-z]+; request r7",
        "|  |      'a' -2.000, 'b' -1.000",
    ):  # fmt: skip
        assert line in text.splitlines()


def test_the_text_fits_a_terminal_and_leaves_nothing_generated_out():
    words = " ".join(f"word{i}" for i in range(200))
    lines = ProgramView.of(story(words)).to_text().splitlines()
    assert max(map(len, lines)) <= 100
    literal = lines[lines.index("[user]") + 1 : lines.index("fork into 2 states")]
    assert len(literal) == 3
    assert literal[1].strip() == "..."
    assert " ".join("".join(line.removeprefix("|  ").removeprefix("    ") for line in lines).split()).count(words) == 1


def test_samples_and_scopes_are_shown_and_the_requests_by_the_engines_ids():
    events = [
        ProgramStarted(time=0.0, name="qa", backend="Engine", **P),
        reached(0.1, 1, "varbegin", name="all"),
        reached(0.1, 2, "gen", name="x"),
        RequestLinked(time=0.4, part=2, rid="r2", **P),
        PartFinished(time=0.9, part=2, text="one", samples=("two", "three"), num_prompt=30, num_cached=20, num_output=6,
                     num_requests=3, **P),
        reached(1.0, 3, "varend", name="all"),
        reached(1.0, 4, "join", detail="gather_variable"),
        ProgramFinished(time=2.0, **P),
    ]  # fmt: skip
    view = ProgramView.of(events)
    lines = view.to_text().splitlines()
    assert lines[2:] == [
        "scope all", "gen x  'one'", "    6 tokens, 20 of 30 prompt tokens reused, 800 ms", "    'two'", "    'three'",
        "    request r2-0 to r2-2", "end of scope all", "join: each name that the branches made is a list from here on",
    ]  # fmt: skip
    assert view.totals() == (20, 10, 6)
    assert "&#x27;three&#x27;" in view.to_html()


def test_a_message_is_one_text_with_its_gaps_marked_in_place():
    events = [
        reached(0.1, 1, "rolebegin", name="assistant"),
        reached(0.1, 2, "text", text="It is "),
        reached(0.1, 3, "select", name="what"),
        PartFinished(time=0.2, part=3, text="ice", num_prompt=40, num_cached=30, num_requests=4, **P),
        reached(0.2, 4, "text", text=", and "),
        reached(0.2, 5, "gen", name="more"),
        PartFinished(time=0.3, part=5, text="cold", num_prompt=20, num_cached=15, **P),
        reached(0.3, 6, "roleend", name="assistant"),
    ]
    html = ProgramView.of(events).to_html().partition("</style>")[2]
    assert re.findall(r'<div class="wb-text">(.*?)</div>', html) == [
        '<span>It is </span><span class="wb-gap" data-name="what">ice</span><span>, and </span>'
        '<span class="wb-gap" data-name="more">cold</span>'
    ]
    widths = [[float(w) for w in re.findall(r"wb-(?:reused|prefill)\" style=\"width:([\d.]+)em", line)]
              for line in html.split("<details")[1:]]  # fmt: skip
    assert widths == [[2.62, 0.88], [5.25, 1.75]]  # to one scale: a selection's bar is that of one of its requests


def test_the_picture_folds_away_constraint_scores_logprobs_and_times():
    html = ProgramView.of(story(), engine_events()).to_html()
    folded = html.split("<details")[1:]
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
    assert running.to_text().splitlines()[1].endswith(", running")
    failed = ProgramView.of([*story()[:-1], ProgramFinished(time=2.0, error="it broke", **P)])
    assert failed.to_text().endswith("failed: it broke")
    failed.save(tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text())["error"] == "it broke"


def test_what_a_rerun_kept_counts_for_nothing():
    events = story()
    events[11] = PartFinished(time=0.9, part=7, text="Paris", num_prompt=10, num_cached=6, num_output=2, replayed=True, **P)
    view = ProgramView.of(events)
    assert "0 tokens made, 0 of 0 prompt tokens reused" in view.summary()
    assert "kept from the run before, nothing was asked" in view.to_text()
    events[11] = PartFinished(time=0.9, part=7, text="Rome", finish="edited", replayed=True, **P)
    assert "edited, nothing was asked" in ProgramView.of(events).to_text()
