"""Generation paused and continued: no step is planned, no output is lost, and waiting requests have the reason."""

from __future__ import annotations

import time

import pytest

from workbench.client.stream import read
from workbench.errors import EngineDead
from workbench.events import RequestWaiting
from workbench.testing import core_calls, events_of, make_client, make_core, make_request, plain_loop, run_to_end
from workbench.why.request.explanation import explain

EXPECTED = plain_loop((1, 2, 3), 8)


@pytest.fixture
def core():
    return make_core(num_tokens=64, context_length=60)


def test_a_paused_core_has_no_work_keeps_its_requests_and_goes_on_where_it_was(core):
    calls = core_calls(core)
    core.add(make_request("running"))
    begun = [token for _ in range(3) for out in core.step() for token in out.token_ids]
    load = calls.get_load()
    calls.pause_generation()
    calls.pause_generation()
    core.add(make_request("new"))
    assert not core.has_work
    assert core.step() == []
    paused = calls.get_load()
    assert (paused.is_paused, paused.num_running, paused.num_waiting) == (True, 1, 1)
    assert paused.tokens_running == load.tokens_running > 0, "it keeps its pages"
    calls.continue_generation()
    assert not calls.get_load().is_paused
    rest = run_to_end(core)
    assert begun + rest["running"].token_ids == rest["new"].token_ids == EXPECTED


def test_an_abort_and_a_timeout_end_requests_of_a_paused_core(core):
    calls = core_calls(core)
    for rid, fields in (("aborted", {}), ("late", {"timeout_s": 5.0}), ("kept", {})):
        core.add(make_request(rid, **fields))
    core.step()
    calls.pause_generation()
    core.add(make_request("waits", timeout_s=5.0))
    assert core.abort("aborted")
    assert core.has_work
    assert [(out.rid, out.finish.type) for out in core.step()] == [("aborted", "abort")]
    assert not core.has_work
    core.clock.now += 5.0
    assert core.has_work
    assert {(out.rid, out.finish.type) for out in core.step()} == {("late", "abort"), ("waits", "abort")}
    assert not core.has_work
    calls.flush_cache()
    assert [lease.rid for lease in core.cache.leases] == ["kept"]
    calls.continue_generation()
    run_to_end(core)
    calls.flush_cache()
    assert calls.get_load().tokens_free == 64


def test_what_waits_says_that_generation_is_paused(core):
    calls = core_calls(core)
    core.add(make_request("before"))
    calls.pause_generation()
    core.add(make_request("after"))
    reasons = {event.rid: event.reason for event in events_of(core, RequestWaiting)}
    assert reasons == {"before": "paused", "after": "paused"}
    core.clock.now += 2.0
    explained = explain(core.log, "after", core.clock())
    assert "2.00 s waiting for paused" in explained.sentence
    calls.continue_generation()
    run_to_end(core)
    (waited,) = explain(core.log, "after", core.clock()).facts["waited"]
    assert (waited["reason"], waited["seconds"]) == ("paused", pytest.approx(2.0))


def test_the_thread_of_a_paused_engine_still_answers_aborts_and_closes():
    client = make_client(make_core(clock=time.monotonic))
    client.engine.pause_generation()
    kept, aborted, late = client.submit([make_request("kept"), make_request("aborted"), make_request("late", timeout_s=0.05)])
    client.abort("aborted")
    assert [out.finish.type for _, out in read([aborted, late])] == ["abort", "abort"], "though nothing steps"
    assert client.engine.get_load().num_waiting == 1
    client.engine.continue_generation()
    assert [token for _, out in read([kept]) for token in out.token_ids] == EXPECTED
    client.engine.pause_generation()
    (open_,) = client.submit([make_request("open")])
    client.close()
    with pytest.raises(EngineDead, match="shut down"):
        list(read([open_]))
