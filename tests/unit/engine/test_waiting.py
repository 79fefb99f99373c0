"""The log of a wait equals a plain account of every refusal, in a few events for each request."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from itertools import groupby

import pytest

from workbench.events import EventLog, RequestScheduled, RequestWaited, RequestWaiting
from workbench.testing import VOCAB_SIZE, events_of, make_core
from workbench.testing import make_request as request
from workbench.why.request.explanation import explain


def crowd(core, num=60, seed=0):
    rng = random.Random(seed)
    for i in range(num):
        prompt = [*range(20 * (i % 3)), *(rng.randrange(VOCAB_SIZE) for _ in range(rng.randrange(10, 200)))]
        core.add(request(f"r{i}", prompt, rng.randrange(5, 60)))


def watched(core):
    """Returns a dict that keeps, by request id, (time, reason, blocking request) of every refusal since the last admission."""
    refusals = defaultdict(list)
    add = core.scheduler.admission.refusals.add

    def note(seq, reason, *, blocked_by="", **numbers):
        refusals[seq.rid].append((core.clock(), reason, blocked_by))
        add(seq, reason, blocked_by=blocked_by, **numbers)

    core.scheduler.admission.refusals.add = note
    return refusals


@pytest.mark.parametrize(
    "config",
    [
        {"chunked_prefill_size": 100, "max_running_requests": 8},
        {"chunked_prefill_size": 100, "num_pages": 1000, "schedule_conservativeness": 0.3},
        {"prefill_only_one_req": True, "schedule_policy": "fcfs"},
        {"enable_mixed_chunk": True, "chunked_prefill_size": 64, "schedule_policy": "random"},
    ],
    ids=["batch and budget", "memory", "one prefill", "mixed"],
)
def test_the_end_of_a_wait_tells_the_time_of_every_reason_and_who_was_longest_in_the_way(config):
    core = make_core(**config)
    refusals = watched(core)
    crowd(core)
    seen = Counter()
    while core.has_work:
        before = len(events_of(core, RequestScheduled))
        core.step()
        for event in events_of(core, RequestScheduled)[before:]:
            told = refusals.pop(event.rid, [])
            waited = events_of(core, RequestWaited, event.rid)[seen[event.rid] :]
            seen[event.rid] += len(waited)
            assert len(waited) == bool(told)
            if told:
                ends = [*(time for time, _, _ in told[1:]), event.time]
                held = [(reason, who, end - time) for (time, reason, who), end in zip(told, ends, strict=True)]
                stretches = [(*key, sum(took for *_, took in group)) for key, group in groupby(held, lambda part: part[:2])]
                assert {part.reason for part in waited[0].parts} == {reason for reason, *_ in stretches}
                for part in waited[0].parts:
                    own = [(took, who) for reason, who, took in stretches if reason == part.reason]
                    assert part.seconds == pytest.approx(sum(took for took, _ in own))
                    assert max(took for took, who in own if who == part.blocked_by) == pytest.approx(max(own)[0])
                    assert part.has_others == (len({who for _, who in own}) > 1)
    assert sum(seen.values()) > 30


def test_a_long_wait_is_a_handful_of_events():
    core = make_core(chunked_prefill_size=64, max_running_requests=16, num_pages=1500)
    refusals = watched(core)
    crowd(core, num=250)
    while core.has_work:
        core.step()
    most = {rid: 5 + math.log2(max(told[-1][0] - told[0][0], 1)) for rid, told in refusals.items()}
    told = Counter(event.rid for event in events_of(core, RequestWaiting))
    assert max(told[rid] - limit for rid, limit in most.items()) <= 1
    assert sum(map(len, refusals.values())) > 50 * sum(told.values()), "it was refused very often"


def test_the_explanation_splits_the_wait_and_its_parts_add_up():
    core = make_core(chunked_prefill_size=100, num_pages=1000, schedule_conservativeness=0.3)
    crowd(core)
    while core.has_work:
        core.step()
    split = 0
    for i in range(60):
        explanation = explain(core.log, f"r{i}", core.clock())
        parts = explanation.facts["waited"]
        first = events_of(core, RequestWaiting, f"r{i}")
        if first:
            assert sum(part["seconds"] for part in parts) <= explanation.facts["wait_s"] + 1e-9
            assert parts == sorted(parts, key=lambda part: -part["seconds"])
            assert {part["blocked_by"] for part in parts} - {""} == set(explanation.facts["waited_for"])
        if len(parts) > 1:
            split += 1
            assert all(f"for {part['reason']}" in explanation.sentence for part in parts if part["seconds"] > 0.001)
    assert split > 10


def test_who_stands_behind_a_request_that_waits_for_memory_waits_for_it():
    core = make_core(num_pages=300, context_length=300, schedule_policy="fcfs", schedule_conservativeness=1.4)
    core.add(request("running", range(100), 100))
    core.step()
    core.add(request("big", range(100, 250), 100))
    core.add(request("small", [7, 8], 4))
    core.step()
    [told] = events_of(core, RequestWaiting, "small")
    assert (told.reason, told.blocked_by) == ("memory", "big")
    lasting = explain(core.log, "small", core.clock() + 2.5)
    assert "waiting for memory (behind big)" in lasting.sentence
    assert lasting.facts["waited"][0]["seconds"] == pytest.approx(core.clock() + 2.5 - told.time)
    assert core.abort("small")
    ended = explain(core.log, "small", core.clock() + 100)
    assert [part["reason"] for part in ended.facts["waited"]] == ["memory"]
    assert ended.facts["waited"][0]["seconds"] == pytest.approx(ended.facts["wait_s"])


def test_nothing_is_accounted_where_nothing_is_recorded():
    core = make_core(log=EventLog(0), chunked_prefill_size=64)
    crowd(core, num=20)
    core.step()
    assert core.scheduler.waiting
    assert all(core.scheduler.admission.refusals.wait_of(seq) is None for seq in core.scheduler.waiting)
