"""The account of a request's time, from events written by hand."""

from __future__ import annotations

import pytest

from workbench.errors import InvalidRequest
from workbench.events import (
    Event,
    EventLog,
    GrammarCompiled,
    PrefixMatched,
    RequestArrived,
    RequestFinished,
    RequestRetracted,
    RequestScheduled,
    RequestWaited,
    RequestWaiting,
    TokenSampled,
    Waited,
)
from workbench.why.request.explanation import explain

ARRIVED = RequestArrived(time=10.0, rid="a", num_prompt=8, max_new_tokens=4)
MATCHED = PrefixMatched(time=10.5, rid="a", num_prompt=8, num_cached=3, reason="nothing stored", node_id=1)
SCHEDULED = RequestScheduled(time=10.5, rid="a", num_cached=3, num_pending=5)


def sampled(time: float, position: int) -> TokenSampled:
    return TokenSampled(time=time, rid="a", token_id=7, position=position)


def log_of(*events: Event) -> EventLog:
    log = EventLog()
    for event in events:
        log.add(event)
    return log


def finished(time: float, num_output: int, reason: str = "length", detail: str = "") -> RequestFinished:
    return RequestFinished(
        time=time, rid="a", reason=reason, detail=detail, num_prompt=8, num_cached=3, num_output=num_output
    )  # fmt: skip


def test_a_whole_life_is_three_spans_without_gaps() -> None:
    waited = RequestWaited(time=10.5, rid="a", parts=(Waited("memory", 0.5, "b"),))
    life = [ARRIVED, waited, MATCHED, SCHEDULED, sampled(11.5, 0), sampled(12.0, 1), finished(12.0, 2)]
    found = explain(log_of(*life), "a", now=99.0)
    spans = [(span.kind, span.start_s, span.duration_s, span.note) for span in found.spans]
    assert spans == [
        ("wait", 0.0, 0.5, "memory, behind b"), ("prefill", 0.5, 1.0, "5 computed, 3 reused"), ("decode", 1.5, 0.5, ""),
    ]  # fmt: skip
    assert found.sentence == (
        "a took 2.00 s: 500 ms waiting for memory (behind b), 1.00 s computing 5 of 8 prompt tokens (3 reused, "
        "the rest is not stored), 500 ms for 2 output tokens; ended by length."
    )
    assert (found.facts["wait_s"], found.facts["prefill_s"], found.facts["decode_s"]) == (0.5, 1.0, 0.5)


def test_a_request_that_runs_lasts_until_now_and_one_token_is_one() -> None:
    found = explain(log_of(ARRIVED, MATCHED, SCHEDULED, sampled(11.5, 0)), "a", now=12.5)
    assert found.sentence.startswith("a has run for 2.50 s")
    assert "1.00 s for 1 output token" in found.sentence
    assert "1 output tokens" not in found.sentence
    assert found.spans[-1].duration_s == 1.0


def test_a_retraction_begins_a_new_wait_and_names_its_cost() -> None:
    retracted = RequestRetracted(time=12.0, rid="a", num_output=1, num_lost=6, needed_by="b", old_ratio=0.5, new_ratio=0.6)
    again = RequestScheduled(time=13.0, rid="a", num_cached=3, num_pending=6, resumed=True)
    found = explain(log_of(ARRIVED, MATCHED, SCHEDULED, sampled(11.5, 0), retracted, again, finished(14.0, 1)), "a", now=99.0)
    assert [span.kind for span in found.spans] == ["wait", "prefill", "decode", "wait", "prefill"]
    assert found.spans[3].note == "retracted: b needed the space"
    assert "retracted 1 time, 6 tokens given up for b" in found.sentence


def test_reasons_to_wait_are_summed_and_the_longest_comes_first() -> None:
    parts = (Waited("memory", 0.1, "b"), Waited("token budget", 0.3, ""), Waited("memory", 0.4, "c"))
    found = explain(log_of(ARRIVED, RequestWaited(time=10.8, rid="a", parts=parts), SCHEDULED), "a", now=11.0)
    assert [(part["reason"], part["blocked_by"], part["has_others"]) for part in found.facts["waited"]] == [
        ("memory", "c", True), ("token budget", "", False),
    ]  # fmt: skip
    assert "(500 ms for memory, longest behind c; 300 ms for token budget)" in found.sentence


def test_a_wait_that_lasts_counts_up_to_now_and_compiling_has_its_own_span() -> None:
    waiting = RequestWaiting(time=10.0, rid="a", reason="compiling", blocked_by="")
    compiled = GrammarCompiled(
        time=10.4, rid="a", kind="regex", backend="xgrammar", where="child", seconds=0.4, num_bytes=2_000_000, is_cached=False
    )
    memory = RequestWaiting(time=10.4, rid="a", reason="memory", blocked_by="b")
    found = explain(log_of(ARRIVED, waiting, compiled, memory), "a", now=11.0)
    assert [(span.label, span.note) for span in found.spans] == [("compile", "compiling"), ("queue", "memory, behind b")]
    assert "its regex compiled in 400 ms in a child process (xgrammar, 2.00 MB)" in found.sentence


def test_only_the_newest_request_of_an_id_is_explained() -> None:
    old = [ARRIVED, SCHEDULED, sampled(11.0, 0), finished(11.0, 1)]
    new = [RequestArrived(time=20.0, rid="a", num_prompt=2, max_new_tokens=4)]
    assert explain(log_of(*old, *new), "a", now=21.0).facts["prompt_tokens"] == 2


def test_a_request_that_the_log_does_not_hold_is_refused_by_its_id() -> None:
    with pytest.raises(InvalidRequest, match="nobody"):
        explain(log_of(ARRIVED), "nobody", now=0.0)
