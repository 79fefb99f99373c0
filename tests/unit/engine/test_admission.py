"""The queue: which requests enter the batch, and the reason why the others wait."""

from __future__ import annotations

from workbench.events import RequestScheduled, RequestWaiting
from workbench.testing import events_of, make_core, make_request, run_to_end


def step(core, *requests):
    """Adds (id, prompt, output length), makes a step, and returns the ids of the requests that run after it."""
    for rid, prompt, num_new in requests:
        core.add(make_request(rid, prompt, num_new, {"ignore_eos": True}))
    core.step()
    return [seq.rid for seq in core.scheduler.running]


def reasons(core) -> dict[str, tuple[str, str]]:
    """Returns (reason, the request that blocks it) of each request that waited, its first refusal only."""
    return {event.rid: (event.reason, event.blocked_by) for event in reversed(events_of(core, RequestWaiting))}


def test_a_request_enters_a_free_engine_at_once():
    core = make_core()
    assert step(core, ("a", [1, 2, 3], 4)) == ["a"]
    assert reasons(core) == {}


def test_a_full_batch_admits_no_request():
    core = make_core(max_running_requests=1)
    assert step(core, ("a", [1], 4), ("b", [2], 4)) == ["a"]
    assert reasons(core) == {"b": ("batch full", "")}


def test_the_token_budget_of_a_step_is_shared_in_order():
    core = make_core(chunked_prefill_size=10)
    assert step(core, ("a", [1] * 8, 4), ("b", [2] * 8, 4), ("c", [3] * 8, 4)) == ["a", "b"]
    assert [seq.num_computed for seq in core.scheduler.running] == [8, 2]
    assert reasons(core) == {"c": ("token budget", "a")}


def test_one_prefill_at_a_time_is_a_rule_that_can_be_asked_for():
    core = make_core(prefill_only_one_req=True)
    assert step(core, ("a", [1] * 8, 4), ("b", [2] * 8, 4)) == ["a"]
    assert reasons(core) == {"b": ("one prefill at a time", "a")}


def test_a_prompt_that_is_being_computed_is_worth_a_wait():
    core = make_core()
    shared = list(range(30))
    assert step(core, ("a", [*shared, 1], 4), ("b", [*shared, 2], 4)) == ["a"]
    assert reasons(core) == {"b": ("shared prefix in progress", "a")}
    assert step(core) == ["a", "b"]
    assert events_of(core, RequestScheduled, "b")[0].num_cached == 30


def test_a_short_common_beginning_is_not():
    core = make_core()
    assert step(core, ("a", [*range(10), 1], 4), ("b", [*range(10), 2], 4)) == ["a", "b"]


def test_memory_is_promised_to_output_that_is_still_to_come():
    """The pool holds both prompts and half of their largest outputs: `a` is promised 0.7 of its 60 tokens."""
    core = make_core(num_tokens=100)
    assert step(core, ("a", [1] * 20, 60), ("b", [2] * 20, 60)) == ["a"]
    (event,) = events_of(core, RequestWaiting, "b")
    assert (event.reason, event.blocked_by) == ("memory", "a")
    assert event.num_needed == 20 + 42
    assert event.num_available == 100 - 20 - 42


def test_a_request_that_waits_for_memory_is_not_passed():
    core = make_core(num_tokens=100, schedule_policy="fcfs")
    assert step(core, ("a", [1] * 20, 60), ("big", [2] * 20, 60), ("small", [3], 1)) == ["a"]
    assert reasons(core)["small"] == ("memory", "big")


def test_an_engine_that_runs_nothing_admits_whatever_fits_the_pool():
    core = make_core(num_tokens=100, schedule_conservativeness=5.0)
    assert step(core, ("a", [1] * 20, 80)) == ["a"]


def test_priority_comes_before_the_policy():
    core = make_core(max_running_requests=1)
    core.add(make_request("low", [1], 2))
    core.add(make_request("high", [2], 2, priority=1))
    core.step()
    assert [seq.rid for seq in core.scheduler.running] == ["high"]


def test_a_request_stands_beside_the_queue_while_its_constraint_is_compiled():
    core = make_core()
    core.add(make_request("slow", [1], 2), is_compiling=True)
    assert step(core, ("quick", [2], 2)) == ["quick"]
    assert [seq.rid for seq in core.scheduler.compiling] == ["slow"]
    assert reasons(core) == {"slow": ("compiling", "")}
    assert set(run_to_end(core)) == {"quick"}, "what is being compiled gives the engine nothing to do"


def test_an_aborted_request_leaves_the_queue():
    core = make_core(max_running_requests=1)
    step(core, ("a", [1], 4), ("b", [2], 4))
    assert core.abort("b")
    assert core.scheduler.waiting == []
    assert list(run_to_end(core)) == ["b", "a"]
