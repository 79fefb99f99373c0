"""The batch: which sequence is retracted when memory is short, and how much output is promised room."""

from __future__ import annotations

import pytest

from workbench.engine.batch import RATIO_DECAY_STEPS, RATIO_MIN_SHARE, Promise
from workbench.events import RequestRetracted, RequestScheduled, StepExecuted
from workbench.testing import events_of, make_core, make_request, plain_loop, run_to_end


def crowded(**config):
    """Returns a core with two requests whose outputs do not both fit: 2 * (10 + 30) tokens in a pool of 60."""
    core = make_core(num_tokens=60, context_length=60, schedule_conservativeness=0.01, **config)
    core.add(make_request("a", [1] * 10, 30))
    core.add(make_request("b", [2] * 10, 30))
    return core


def test_what_does_not_fit_is_retracted_and_gives_the_same_output():
    core = crowded()
    outputs = run_to_end(core)
    assert len(events_of(core, RequestRetracted)) == 1
    assert outputs["a"].token_ids == plain_loop([1] * 10, 30)
    assert outputs["b"].token_ids == plain_loop([2] * 10, 30)


def test_the_request_with_the_least_output_leaves():
    core = make_core(num_tokens=60, context_length=60, schedule_conservativeness=0.01)
    core.add(make_request("early", [1] * 10, 30))
    core.step()
    core.step()
    core.add(make_request("late", [2] * 10, 30))
    run_to_end(core)
    assert [event.rid for event in events_of(core, RequestRetracted)] == ["late"]


def test_a_request_leaves_before_those_of_higher_priority_that_have_less_output():
    core = make_core(num_tokens=60, context_length=60, schedule_conservativeness=0.01)
    core.add(make_request("low", [1] * 10, 30))
    core.step()
    core.step()
    core.add(make_request("high", [2] * 10, 30, priority=1))
    outputs = run_to_end(core)
    assert [event.rid for event in events_of(core, RequestRetracted)] == ["low"]
    assert outputs["low"].token_ids == plain_loop([1] * 10, 30)[2:], "all that follows the tokens of two steps"


def test_of_equals_the_longest_prompt_leaves():
    core = make_core(num_tokens=60, context_length=60, schedule_conservativeness=0.01)
    core.add(make_request("short", [1] * 5, 30))
    core.add(make_request("long", [2] * 15, 30))
    run_to_end(core)
    assert [event.rid for event in events_of(core, RequestRetracted)] == ["long"]


def test_a_retracted_request_is_the_first_to_return_and_finds_what_it_left():
    core = crowded(max_running_requests=2)
    core.add(make_request("behind", [3], 1))
    run_to_end(core)
    (retracted,) = events_of(core, RequestRetracted)
    _, resumed = events_of(core, RequestScheduled, retracted.rid)
    assert resumed.resumed
    assert resumed.num_cached + resumed.num_pending == 10 + retracted.num_output
    assert resumed.num_cached > 0


def test_a_retraction_raises_the_ratio_to_what_the_others_have_used():
    core = crowded()
    run_to_end(core)
    (event,) = events_of(core, RequestRetracted)
    assert event.old_ratio == pytest.approx(0.01 * 0.7, rel=0.1)
    assert event.new_ratio == min(1.0, (event.num_output + 20) / 30)


def test_the_ratio_falls_to_a_share_of_where_it_began():
    promise = Promise(1.0)
    began = promise.ratio
    for _ in range(RATIO_DECAY_STEPS // 2):
        promise.decay()
    assert promise.ratio == pytest.approx(began * (1 + RATIO_MIN_SHARE) / 2)
    for _ in range(RATIO_DECAY_STEPS):
        promise.decay()
    assert promise.ratio == pytest.approx(began * RATIO_MIN_SHARE)


@pytest.mark.parametrize("conservativeness, ratio", [(1.0, 0.7), (0.5, 0.35), (9.0, 1.0)])
def test_conservativeness_scales_the_promise_up_to_all(conservativeness, ratio):
    assert Promise(conservativeness).ratio == pytest.approx(ratio)


def test_all_pages_come_back_when_the_last_request_has_left():
    core = crowded()
    run_to_end(core)
    assert core.cache.num_owned_pages == 0
    core.flush_cache()
    assert core.cache.num_free_pages == core.cache.num_pages


def test_decode_waits_for_a_prompt_unless_the_step_is_mixed():
    def kinds(is_mixed: bool) -> list[set[str]]:
        core = make_core(enable_mixed_chunk=is_mixed, chunked_prefill_size=4)
        core.add(make_request("a", [1], 6))
        core.step()
        core.add(make_request("b", [2] * 8, 2))
        run_to_end(core)
        return [{member.kind for member in event.members} for event in events_of(core, StepExecuted)]

    assert {"prefill", "decode"} in kinds(True)
    assert {"prefill", "decode"} not in kinds(False)
