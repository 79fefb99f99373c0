"""All K/V is dropped between two steps: requests keep their order and their output, and compute their tokens again."""

from __future__ import annotations

from workbench.events import CacheFlushed, RequestRetracted, RequestWaiting
from workbench.testing import core_calls, events_of, make_core, make_request, plain_loop, run_to_end

PROMPT = (1, 2, 3)


def running_core():
    """Returns a core with three requests in the batch, and the tokens that they made."""
    core = make_core(num_tokens=200, context_length=60, schedule_policy="fcfs")
    for rid in ("a", "b", "c"):
        core.add(make_request(rid, PROMPT, 8))
    begun: dict[str, list[int]] = {rid: [] for rid in ("a", "b", "c")}
    for _ in range(5):
        for out in core.step():
            begun[out.rid] += out.token_ids
    assert len(core.scheduler.running) == 3
    return core, begun


def test_requests_keep_their_order_and_their_output():
    core, begun = running_core()
    order = [seq.rid for seq in core.scheduler.running]
    num_used = core.cache.num_pages - core.cache.num_free_pages
    assert core.drop_kv() > 0
    assert num_used
    assert core.cache.num_free_pages == core.cache.num_pages
    assert [seq.rid for seq in core.scheduler.waiting] == order
    rest = run_to_end(core)
    assert {rid: begun[rid] + rest[rid].token_ids for rid in begun} == dict.fromkeys(begun, plain_loop(PROMPT, 8))


def test_the_log_has_the_cause_of_each_and_the_flush():
    core, _ = running_core()
    core.drop_kv()
    retracted = events_of(core, RequestRetracted)
    assert [event.rid for event in retracted] == ["a", "b", "c"]
    assert {event.cause for event in retracted} == {"the weights were replaced"}
    assert {event.new_ratio - event.old_ratio for event in retracted} == {0.0}, "no promise failed"
    assert events_of(core, CacheFlushed)[-1].num_tokens > 0


def test_in_a_pause_they_wait_for_its_end():
    core, _ = running_core()
    calls = core_calls(core)
    calls.pause_generation()
    core.drop_kv()
    assert not core.has_work
    assert {event.rid for event in events_of(core, RequestWaiting) if event.reason == "paused"} == {"a", "b", "c"}
    calls.continue_generation()
    assert all(produced.token_ids for produced in run_to_end(core).values())
