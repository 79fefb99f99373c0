"""The batch timeline: after any run it agrees with the engine, and every moment of a request's life is accounted for."""

from __future__ import annotations

import html
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_runs import CONFIGS, OPERATIONS, open_core, perform, squeezed

from workbench.engine.snapshot import snapshot
from workbench.errors import InvalidRequest
from workbench.events import (
    NUM_FIRST,
    PrefixMatched,
    RequestArrived,
    RequestFinished,
    RequestScheduled,
    RequestWaiting,
    StepExecuted,
    StepMember,
    TokenSampled,
)
from workbench.testing import FoldReader
from workbench.views.advice import IN_MAGICS, IN_PYTHON
from workbench.views.batch.drawn import IDLE_SHARE, MAX_LANES, Axis
from workbench.views.batch.fold import MAX_ENDED, MAX_STEPS, BatchFold
from workbench.views.fold import Facts


def folded(events, **options) -> BatchFold:
    batch = BatchFold(**options)
    for event in events:
        batch.apply(event)
    return batch


@settings(max_examples=100)
@given(CONFIGS, OPERATIONS)
def test_after_every_step_of_any_run_the_batch_equals_the_engines_own(config, operations):
    core = open_core(config)
    reader = FoldReader(core, BatchFold)

    def compare() -> None:
        batch, scheduler = reader.read(), core.scheduler
        assert {life.rid for life in batch.running} == {seq.rid for seq in scheduler.running}
        assert {life.rid for life in batch.waiting} == {seq.rid for seq in scheduler.waiting}
        for seq in (*scheduler.running, *scheduler.waiting):
            life = batch.request(seq.rid)
            assert (life.num_prompt, life.num_output) == (seq.num_prompt, len(seq.output_ids))
            assert life.num_cached == seq.num_reused
        for life in batch.picture().lanes:  # the clock stands still between steps: no moment is missing
            until = batch.now if life.ended is None else life.ended
            assert sum(life.seconds(batch.now).values()) == pytest.approx(until - life.arrived)

    perform(core, operations, compare)
    batch = reader.read()
    num_kept = sum(step.num_prefill + step.num_decode for step in batch.steps)
    assert num_kept == core.runner.num_computed or (config["drafts"] is not None and num_kept < core.runner.num_computed)
    scheduled = [event for event in core.log.read()[1] if isinstance(event, RequestScheduled)]
    assert sum(step.num_reused for step in batch.steps) == sum(event.num_cached for event in scheduled)
    for life in batch.requests:
        check_life(life, batch)


def check_life(life, batch: BatchFold) -> None:
    """Checks that stretches leave no gap: the virtual clock stands still between steps."""
    assert life.phase == "ended"
    assert life.stretches[0].start == life.arrived
    assert all(a.end == pytest.approx(b.start) for a, b in pairwise(life.stretches))
    assert sum(life.seconds(batch.now).values()) == pytest.approx(life.ended - life.arrived)
    own = [(step, member) for step in batch.steps for member in step.members if member.rid == life.rid]
    inside = [part for part in life.stretches if part.kind in ("prefill", "decode")]
    assert sum(part.num_tokens for part in inside) == sum(member.num_new for _, member in own)
    for step, member in own:
        (part,) = (part for part in inside if part.first_step <= step.number <= part.last_step)
        assert part.kind == member.kind
        assert part.start - 1e-9 <= step.start
        assert step.end <= part.end + 1e-9
    for part in life.stretches:
        if part.kind == "paused":
            assert not [step for step, _ in own if part.start < (step.start + step.end) / 2 < part.end]


def test_a_squeezed_run_shows_chunks_holdups_reasons_and_the_retraction():
    batch = folded(squeezed().log.read()[1])
    kinds = {rid: [part.kind for part in batch.request(rid).stretches] for rid in ("a", "b", "long", "late")}
    assert kinds["a"] == ["wait", "prefill", "prefill", "paused", "decode", "paused", "decode"]
    assert kinds["b"][:4] == ["wait", "prefill", "prefill", "decode"]
    assert batch.request("b").stretches[0].note == "token budget, behind a"
    reasons = "batch full: 3 running at most; then memory, behind long; then token budget, behind long"
    assert batch.request("late").stretches[0].note == reasons
    retracted = batch.request("b")
    assert (retracted.num_retractions, retracted.num_lost) == (1, 42)
    (wait,) = (part for part in retracted.stretches if part.note.startswith("retracted"))
    assert wait.note.startswith("retracted: a needed the space, 42 tokens given up; then memory, behind a: ")
    together = batch.together("a", "b")
    assert together
    assert all({"a", "b"} <= {member.rid for member in batch.step(number).members} for number in together)
    assert [step.retracted for step in batch.steps if step.retracted] == [("long",), ("b",)]


def test_who_waits_is_told_with_the_reason_in_words_and_with_numbers():
    open_core = [RequestArrived(time=0.0, rid=rid, num_prompt=4, max_new_tokens=4) for rid in "abcd"]
    batch = folded(
        [
            *open_core,
            RequestWaiting(time=1.0, rid="a", reason="memory", blocked_by="z", num_needed=12, num_available=4),
            RequestWaiting(time=1.0, rid="b", reason="batch full", num_needed=3, num_available=2),
            RequestWaiting(time=1.0, rid="c", reason="compiling"),
            StepExecuted(time=3.0, step=1, members=(), plan_s=0, execute_s=1, commit_s=0, budget_left=8, num_waiting=4,
                         pages_free=64, pages_tree=0, pages_owned=0),
        ]
    )  # fmt: skip
    assert batch.picture().waiting == [
        ("a", "3.00 s", "memory, behind z: 12 pages needed, 4 available"),
        ("b", "3.00 s", "batch full: 2 running at most"),
        ("c", "2.00 s", "compiling"),
        ("d", "3.00 s", "the next step"),
    ]
    assert [part.kind for part in batch.request("c").stretches] == ["wait", "compile"]
    for words in ("12 pages needed, 4 available", "2 running at most"):
        assert words in batch.picture().to_html()
        assert words in batch.picture().to_text()


def test_an_id_that_is_used_again_is_a_new_request():
    ended = {"reason": "stop", "detail": "", "num_prompt": 4, "num_cached": 0, "num_output": 1}
    batch = folded(
        [
            RequestArrived(time=0.0, rid="a", num_prompt=4, max_new_tokens=4),
            RequestFinished(time=1.0, rid="a", **ended),
            RequestArrived(time=2.0, rid="a", num_prompt=9, max_new_tokens=4),
            TokenSampled(time=3.0, rid="never", token_id=1, position=0),
        ]
    )
    assert [(life.rid, life.num_prompt, life.phase) for life in batch.requests] == [("a", 9, "waiting")]


def requests_of_one_step(number: int, start: float, seconds: float, num_members: int):
    end, rids = start + seconds, [f"r{number}-{i}" for i in range(num_members)]
    ended = {"reason": "length", "detail": "", "num_prompt": 4, "num_cached": 0, "num_output": 1}
    return [
        *(RequestArrived(time=start, rid=rid, num_prompt=4, max_new_tokens=4) for rid in rids),
        *(RequestScheduled(time=start, rid=rid, num_cached=0, num_pending=4) for rid in rids),
        *(RequestFinished(time=end, rid=rid, **ended) for rid in rids),
        StepExecuted(time=end, step=number, members=tuple(StepMember(rid, 0, 4, "prefill") for rid in rids), plan_s=0,
                     execute_s=seconds, commit_s=0, budget_left=0, num_waiting=0, pages_free=1, pages_tree=0, pages_owned=0),
    ]  # fmt: skip


def busy_events(num_steps: int, num_members: int):
    """Returns the events of an endless load: requests of one step each, so that every step brings new ones."""
    for number in range(1, num_steps + 1):
        yield from requests_of_one_step(number, float(number), 0.5, num_members)


def test_memory_and_messages_stay_bounded_under_a_load_without_end():
    batch = folded(busy_events(MAX_STEPS + 500, 2))
    assert len(batch.steps) == MAX_STEPS
    assert len(batch.requests) == MAX_ENDED
    state = batch.state()
    assert len(state["lanes"]) == MAX_LANES
    assert state["all"] > len(state["lanes"])
    assert f"{MAX_LANES} of them shown" in state["title"]
    assert len(state["steps"]["number"]) <= 200


@pytest.mark.parametrize("steps", [1, 7, 500])
def test_steps_and_stretches_are_drawn_inside_the_axis_and_in_order(steps):
    state = folded(squeezed().log.read()[1], steps=steps).picture().to_dict()
    assert state["start"] < state["end"]
    for columns in (state["steps"], *state["lanes"]):
        times = list(zip(columns["start"], columns["end"], strict=True))
        assert all(start <= end <= state["end"] for start, end in times)
        assert times == sorted(times)
        assert times[-1][1] >= state["start"]
    assert state["steps"]["start"][0] >= state["start"]
    assert len(state["steps"]["number"]) == min(steps, 68)


def test_time_without_any_request_is_cut_out_of_the_axis_and_said():
    axis = Axis([(1.0, 101.0)], 0.0, 102.0)
    assert axis.length == pytest.approx(2.0, rel=0.05)
    assert axis.at(0.5) == 0.5
    assert axis.at(101.5) == pytest.approx(axis.length - 0.5)
    ((place, left_out),) = axis.breaks
    assert place == pytest.approx(axis.at(101.0))
    assert left_out == pytest.approx(100, rel=0.01)
    assert axis.at(1.0) <= axis.at(50.0) <= axis.at(101.0)
    short = Axis([(1.0, 1.01)], 0.0, 6.0)
    assert (short.breaks, short.length) == ([], 6.0)


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0.01, 9), st.booleans()), min_size=1, max_size=12))
def test_the_axis_leaves_out_what_neither_a_request_nor_a_step_covers(parts):
    """Pauses and work alternate; of some work only the steps are in the log."""
    batch, now, idle = BatchFold(), 0.0, []
    for number, (pause, work, is_known) in enumerate(parts, 1):
        idle += [pause] if number > 1 else []
        now += pause + work
        events = requests_of_one_step(number, now - work, work, 2)
        for event in events if is_known else events[-1:]:
            batch.apply(event)
    axis, longest = batch.picture().axis, IDLE_SHARE * sum(work for _, work, _ in parts)
    expected = [pause - longest for pause in idle if pause - longest > 1e-6]
    assert [left_out for _, left_out in axis.breaks if left_out > 1e-6] == pytest.approx(expected, abs=1e-6)
    assert axis.length == pytest.approx(axis.end - axis.start - sum(expected), abs=1e-4)


@settings(max_examples=60)
@given(CONFIGS, OPERATIONS, st.integers(1, 9))
def test_the_live_state_is_the_picture_at_every_moment(config, operations, steps):
    core = open_core(config)
    reader = FoldReader(core, lambda: BatchFold(steps=steps))

    def compare() -> None:
        batch = reader.read()
        assert without_words(batch.state()) == without_words(batch.picture().to_dict())

    perform(core, operations, compare)
    one_by_one = BatchFold(steps=steps)
    for event in core.log.read()[1]:
        one_by_one.apply(event)
        assert without_words(one_by_one.state()) == without_words(one_by_one.picture().to_dict())


def without_words(state: dict[str, Any]) -> dict[str, Any]:
    """Drops sentences about requests that live: these may be a moment old."""
    lanes = [lane if lane["phase"] == "ended" else lane | {"says": ""} for lane in state["lanes"]]
    return state | {"lanes": lanes}


def test_words_about_a_request_are_new_each_second_and_when_more_is_told_of_it():
    def step(number: int, end: float) -> StepExecuted:
        members = (StepMember("a", 4, 1, "decode"),)
        return StepExecuted(time=end, step=number, members=members, plan_s=0, execute_s=0.1, commit_s=0, budget_left=0,
                            num_waiting=0, pages_free=1, pages_tree=0, pages_owned=0)  # fmt: skip

    def says() -> str:
        (lane,) = batch.state()["lanes"]
        return lane["says"]

    batch = folded([RequestArrived(time=0.0, rid="a", num_prompt=4, max_new_tokens=9)])
    assert says() == "a: 4 prompt tokens; 0 tokens out; no time yet; waiting: the next step"
    batch.apply(RequestScheduled(time=1.0, rid="a", num_cached=0, num_pending=4))
    first = says()
    assert first == "a: 4 prompt tokens; 0 tokens out; 1.00 s queue; running"
    for number, end, is_new in ((1, 1.5, False), (2, 1.9, False), (3, 2.1, True)):
        batch.apply(step(number, end))
        batch.apply(TokenSampled(time=end, rid="a", token_id=1, position=number - 1))
        assert (says() != first) == is_new
    assert "3 tokens out" in says()
    batch.apply(RequestFinished(time=2.2, rid="a", reason="stop", detail="", num_prompt=4, num_cached=0, num_output=3))
    assert says().endswith("ended by stop")


def test_every_request_can_be_reached_by_leaving_out_the_latest_ones():
    batch = folded(busy_events(100, 2))
    seen = []
    for batch.skip in range(0, 10 * MAX_LANES, MAX_LANES):
        seen += [lane["rid"] for lane in batch.state()["lanes"]]
    assert len(seen) == len(set(seen))
    assert set(seen) == {life.rid for life in batch.requests}


@pytest.mark.parametrize("advice, more", [(IN_PYTHON, 'engine.view("batch", skip=40)'), (IN_MAGICS, "%wb batch --skip 40")])
def test_a_still_picture_says_how_one_sees_the_requests_that_had_no_room(advice, more):
    first = f"Requests 1 to 40 of 200, the latest being number 1. Those before them: {more}"
    last = f"Requests 161 to 200 of 200, the latest being number 1. The latest: {more.replace('40', '0')}"
    for skip, says in ((0, first), (160, last)):
        batch = BatchFold(Facts(advice=advice), skip=skip)
        for event in busy_events(100, 2):
            batch.apply(event)
        assert says in batch.picture().to_text()
        assert says in html.unescape(batch.picture().to_html())


def test_a_row_shows_what_its_prompt_begins_with_and_behind_a_shared_beginning_what_is_its_own():
    texts = {1: "<|start|>", 2: "You", 3: " are", 4: "\n a\u202e ", 5: "river", 6: "lake"}
    tokenizer = SimpleNamespace(all_special_ids=[1])
    batch = BatchFold(Facts(decode=lambda ids: "".join(texts[i] for i in ids), tokenizer=tokenizer))
    arrived = {"time": 0.0, "num_prompt": 5, "max_new_tokens": 4, "first_ids": (1, 2, 3, 4, 5)}
    matched = {"time": 1.0, "num_prompt": 5, "node_id": 0}
    for event in (
        RequestArrived(rid="a", **arrived),
        PrefixMatched(rid="a", num_cached=0, reason="nothing stored", **matched),
        RequestArrived(rid="b", **arrived),
        PrefixMatched(rid="b", num_cached=4, reason="diverged", expected=(5,), asked=(6,), **matched),
    ):
        batch.apply(event)
    own = "You are a⟨U+202E⟩ river"
    assert [lane["prompt"] for lane in batch.state()["lanes"]] == [own, "…lake"]
    assert [life.prompt for life in batch.picture().lanes] == [own, "…lake"]
    assert own in batch.picture().to_html()


@settings(max_examples=30)
@given(CONFIGS, OPERATIONS)
def test_first_tokens_of_a_prompt_are_told_by_the_log_and_by_a_snapshot(config, operations):
    core = open_core(config)
    told = {}

    def compare() -> None:
        told.update((event.rid, event.first_ids) for event in core.log.read()[1] if isinstance(event, RequestArrived))
        for event in snapshot(core).events:
            if isinstance(event, RequestArrived):
                assert event.first_ids == told[event.rid]
        for seq in (*core.scheduler.running, *core.scheduler.waiting):
            assert told[seq.rid] == seq.request.input_ids[:NUM_FIRST]

    perform(core, operations, compare)


def test_an_empty_batch_is_shown_as_such():
    picture = BatchFold().picture()
    assert "no step yet" in picture.to_text()
    assert "no step yet" in picture.to_html()
    assert BatchFold().state()["lanes"] == []


def test_a_picture_stays_as_it_was_when_the_fold_goes_on():
    events = squeezed().log.read()[1]
    batch = folded(events[:60])
    picture = batch.picture()
    before = picture.to_html()
    for event in events[60:]:
        batch.apply(event)
    assert picture.to_html() == before
    assert batch.picture().to_html() != before


@pytest.mark.parametrize(
    "asked", [{"kind": "step", "id": 9999}, {"kind": "request", "id": "never"}, {"kind": "page", "id": 1}, {}]
)
def test_what_is_not_remembered_is_refused_in_words(asked):
    with pytest.raises(InvalidRequest, match="a step or a request that is remembered"):
        folded(squeezed().log.read()[1]).detail(asked)


def test_a_click_is_answered_in_one_sentence_and_in_parts():
    batch = folded(squeezed().log.read()[1])
    step = batch.detail({"kind": "step", "id": 3})
    assert step["says"].startswith("step 3: ")
    assert [member["rid"] for member in step["step"]["members"]] == [member.rid for member in batch.step(3).members]
    request = batch.detail({"kind": "request", "id": "b"})
    assert "retracted 1 time, 42 tokens given up" in request["says"]


@pytest.mark.parametrize("steps", [0, 501, "many", 1.5])
def test_a_number_of_steps_that_cannot_be_shown_is_refused(steps):
    with pytest.raises(InvalidRequest, match="steps"):
        BatchFold(steps=steps)


@settings(max_examples=60)
@given(CONFIGS, OPERATIONS, st.integers(0, 30))
def test_a_fold_from_a_snapshot_knows_who_runs_and_who_waits_and_goes_on(config, operations, when):
    core = open_core(config)
    reader, num_calls = None, 0

    def compare() -> None:
        nonlocal reader, num_calls
        num_calls += 1
        if num_calls == when + 1:
            reader = FoldReader(core, BatchFold)
            reader.restart()
        if reader is not None:
            batch = reader.read()
            assert {life.rid for life in batch.running} == {seq.rid for seq in core.scheduler.running}
            assert {life.rid for life in batch.waiting} == {seq.rid for seq in core.scheduler.waiting}
            for life in batch.requests:
                assert all(a.end <= b.start + 1e-9 for a, b in pairwise(life.stretches))

    perform(core, operations, compare)
