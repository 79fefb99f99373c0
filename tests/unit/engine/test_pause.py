"""Generation paused and continued: nothing is planned, nothing is lost, and what waits has the reason."""

from __future__ import annotations

import pytest
from core_calls import core_calls

from workbench.client.stream import read
from workbench.engine.core import EngineCore
from workbench.engine.fake import FakeRunner, VirtualClock, next_token
from workbench.engine.limits import CoreConfig
from workbench.engine.local_client import LocalClient
from workbench.errors import EngineDead
from workbench.events import EventLog, RequestWaiting
from workbench.types import Request, SamplingParams
from workbench.why.request import explain

VOCAB = 256
PROMPT = (1, 2, 3)


def request(rid, num_new=8, **fields):
    return Request(rid=rid, input_ids=PROMPT, params=SamplingParams(max_new_tokens=num_new, ignore_eos=True), **fields)


@pytest.fixture
def core():
    clock = VirtualClock()
    config = CoreConfig(num_pages=64, context_length=60, vocab_size=VOCAB, check=True)
    return EngineCore(config, FakeRunner(VOCAB, clock=clock), clock=clock, log=EventLog())


def plain_loop(num_new):
    tokens = list(PROMPT)
    for _ in range(num_new):
        tokens.append(next_token(tuple(tokens), VOCAB))
    return tokens[len(PROMPT) :]


def run(core):
    """Returns the output ids of each request, from steps until there is no work."""
    ids = {}
    while core.has_work:
        for out in core.step():
            ids.setdefault(out.rid, []).extend(out.token_ids)
    return ids


def test_a_paused_core_has_no_work_keeps_its_requests_and_goes_on_where_it_was(core):
    calls = core_calls(core)
    core.add(request("running"))
    begun = [token for _ in range(3) for out in core.step() for token in out.token_ids]
    load = calls.get_load()
    calls.pause_generation()
    calls.pause_generation()
    core.add(request("new"))
    assert not core.has_work
    assert core.step() == []
    paused = calls.get_load()
    assert (paused.is_paused, paused.num_running, paused.num_waiting) == (True, 1, 1)
    assert paused.tokens_running == load.tokens_running > 0, "it keeps its pages"
    calls.continue_generation()
    assert not calls.get_load().is_paused
    rest = run(core)
    assert begun + rest["running"] == rest["new"] == plain_loop(8)


def test_an_abort_and_a_timeout_end_requests_of_a_paused_core(core):
    calls = core_calls(core)
    for rid, fields in (("aborted", {}), ("late", {"timeout_s": 5.0}), ("kept", {})):
        core.add(request(rid, **fields))
    core.step()
    calls.pause_generation()
    core.add(request("waits", timeout_s=5.0))
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
    run(core)
    calls.flush_cache()
    assert calls.get_load().tokens_free == 64


def test_what_waits_says_that_generation_is_paused(core):
    calls = core_calls(core)
    core.add(request("before"))
    calls.pause_generation()
    core.add(request("after"))
    reasons = {event.rid: event.reason for event in core.log.read()[1] if isinstance(event, RequestWaiting)}
    assert reasons == {"before": "paused", "after": "paused"}
    core.clock.now += 2.0
    explained = explain(core.log, "after", core.clock())
    assert "2000 ms waiting for paused" in explained.sentence
    calls.continue_generation()
    run(core)
    (waited,) = explain(core.log, "after", core.clock()).facts["waited"]
    assert (waited["reason"], waited["seconds"]) == ("paused", pytest.approx(2.0))


def test_the_thread_of_a_paused_engine_still_answers_aborts_and_closes():
    core = EngineCore(CoreConfig(num_pages=8192, context_length=8000, vocab_size=VOCAB), FakeRunner(VOCAB))
    client = LocalClient(core, lambda request: (None, None), core_calls(core))
    client.engine.pause_generation()
    kept, aborted, late = client.submit([request("kept"), request("aborted"), request("late", timeout_s=0.05)])
    client.abort("aborted")
    assert [out.finish.type for _, out in read([aborted, late])] == ["abort", "abort"], "though nothing steps"
    assert client.engine.get_load().num_waiting == 1
    client.engine.continue_generation()
    assert [token for _, out in read([kept]) for token in out.token_ids] == plain_loop(8)
    client.engine.pause_generation()
    (open_,) = client.submit([request("open")])
    client.close()
    with pytest.raises(EngineDead, match="shut down"):
        list(read([open_]))
