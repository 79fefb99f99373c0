"""Overlapping steps give what one step after the other gives, whatever ends, arrives or fails meanwhile."""

from __future__ import annotations

import random
import time

import pytest

from workbench.engine.fake import FakeRunner
from workbench.engine.overlap import Overlap
from workbench.events import PagesReturned, PagesTaken, RequestFinished, RequestRetracted, StepExecuted
from workbench.testing import VOCAB_SIZE, ScriptedRunner, events_of, make_core, plain_loop
from workbench.testing import make_request as request


class StopAt:
    """Text that ends at a token which is no stop token: what a stop string does."""

    def __init__(self, token_id: int | None) -> None:
        self._token_id, self.matched = token_id, None

    def push(self, token_id: int) -> tuple[str, str | None]:
        if token_id == self._token_id:
            self.matched = "stop"
        return f"{token_id} ", self.matched

    def finish(self) -> str:
        return ""


def overlapped(core, requests, *, seed: int = 0, arrivals: bool = True):
    """Runs requests that arrive, and are aborted, between steps; returns the tokens and the finish of each."""
    rng, waiting, outs = random.Random(seed), [*requests], []
    overlap = Overlap(core, outs.extend, lambda: bool(waiting) and rng.random() < 0.2)
    try:
        while waiting or core.has_work:
            for _ in range(rng.randint(1, 3) if arrivals else len(waiting)):
                if waiting:
                    core.add(waiting.pop(0))
            overlap.advance()
            core.cache.check()
    finally:
        overlap.close()
    tokens = {one.rid: [t for out in outs if out.rid == one.rid for t in out.token_ids] for one in requests}
    return tokens, {out.rid: out.finish for out in outs if out.finish is not None}


def prompts(count: int) -> list[list[int]]:
    return [[i % 3] * 20 + list(range(i, i + 5 + 7 * (i % 4))) for i in range(count)]


@pytest.mark.parametrize("page_size", [1, 4])
@pytest.mark.parametrize("num_pages", [70, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_outputs_equal_the_plain_loop(page_size, num_pages, seed):
    core = make_core(
        num_pages=num_pages, page_size=page_size, context_length=69, schedule_conservativeness=0.1, chunked_prefill_size=16
    )
    made = [request(f"r{i}", prompt, 1 + (i * 5) % 23) for i, prompt in enumerate(prompts(12))]
    tokens, finish = overlapped(core, made, seed=seed)
    assert tokens == {one.rid: plain_loop(one.input_ids, one.params.max_new_tokens) for one in made}
    assert all(reason.type == "length" for reason in finish.values())
    assert core.cache.num_owned_pages == 0
    if num_pages == 70 and page_size == 1:
        assert events_of(core, RequestRetracted), "the pool was meant to be too small"


def test_all_decode_steps_but_those_at_the_ends_overlap():
    core = make_core(clock=time.monotonic)
    tokens, _ = overlapped(core, [request("a", max_new_tokens=20), request("b", [5], 20)], arrivals=False)
    assert tokens == {"a": plain_loop((1, 2, 3), 20), "b": plain_loop([5], 20)}
    steps = events_of(core, StepExecuted)
    assert [step.step for step in steps] == list(range(1, 21))
    # Nothing is planned behind a prefill, and nothing follows on the last step.
    assert [step.commit_s == 0 for step in steps] == [False] + [True] * 18 + [False]


def test_end_tokens_and_texts_that_stop_end_their_request_alone():
    whole = plain_loop((1, 2, 3), 30)
    end, stop = whole[9], whole[14]
    core = make_core(text_for=lambda one: StopAt(stop if one.rid == "text" else None))
    made = [
        request("whole", max_new_tokens=30),
        request("token", max_new_tokens=30, params={"stop_token_ids": [end]}),
        request("text", max_new_tokens=30),
        request("later", max_new_tokens=30, params={"stop_token_ids": [end], "min_new_tokens": 12}),
    ]
    serial = make_core(text_for=lambda one: StopAt(stop if one.rid == "text" else None))
    for one in made:
        serial.add(one)
    expected: dict[str, list[int]] = {one.rid: [] for one in made}
    while serial.has_work:
        for out in serial.step():
            expected[out.rid] += out.token_ids
    tokens, finish = overlapped(core, made, arrivals=False)
    assert tokens == expected
    assert tokens["whole"] == whole
    assert {rid: reason.type for rid, reason in finish.items()} == {
        "whole": "length", "token": "stop", "text": "stop", "later": finish["later"].type,
    }  # fmt: skip
    assert len(events_of(core, RequestFinished)) == len(made)


def test_penalties_and_log_probabilities_see_every_token():
    made = [
        request("a", max_new_tokens=12, params={"frequency_penalty": 0.5}),
        request("b", max_new_tokens=12, return_logprob=True, logprob_start_len=-1),
    ]
    core = make_core()
    tokens, _ = overlapped(core, made, arrivals=False)
    serial = make_core()
    expected: dict[str, list[int]] = {"a": [], "b": []}
    for one in made:
        serial.add(one)
    while serial.has_work:
        for out in serial.step():
            expected[out.rid] += out.token_ids
    assert tokens == expected


class FailsOnce(FakeRunner):
    def execute(self, plan):
        if plan.step == 6:
            raise RuntimeError("out of luck")
        return super().execute(plan)


def test_a_step_that_fails_ends_its_requests_and_the_engine_goes_on():
    core = make_core(runner=FailsOnce(VOCAB_SIZE))
    tokens, finish = overlapped(core, [request("a", max_new_tokens=20)], arrivals=False)
    assert tokens["a"] == plain_loop((1, 2, 3), 5)
    assert (finish["a"].type, finish["a"].message) == ("abort", "the forward pass failed: RuntimeError: out of luck")
    tokens, _ = overlapped(core, [request("b", max_new_tokens=20)], arrivals=False)
    assert tokens["b"] == plain_loop((1, 2, 3), 20)


def test_a_request_that_is_out_of_time_ends_in_the_middle():
    core = make_core()
    made = [request("late", max_new_tokens=500, timeout_s=0.05), request("other", [4], 60)]
    tokens, finish = overlapped(core, made, arrivals=False)
    assert finish["late"].message.startswith("timed out")
    assert 0 < len(tokens["late"]) < 500
    assert tokens["other"] == plain_loop([4], 60)


def test_an_error_in_the_books_reaches_the_caller(monkeypatch):
    core = make_core()
    core.add(request("a", max_new_tokens=20))
    overlap = Overlap(core, lambda outs: None, lambda: False)
    overlap.advance()  # the prefill
    monkeypatch.setattr(core.scheduler, "commit", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        overlap.advance()
    overlap.close()


def test_every_page_that_is_given_back_was_said_to_be_taken():
    """One output reaches its length, so that no step is planned ahead, while that of a request before it ends by its token."""
    core = make_core(num_tokens=100, runner=ScriptedRunner({"a": [5, 5, 9], "b": [6, 6, 6]}), eos_ids=frozenset({9}))
    core.add(request("a", [1, 2, 3], 8))
    core.add(request("b", [4, 5, 6], 3))
    owners = dict.fromkeys(range(100), "")
    overlapped(core, [])
    for event in core.log.read()[1]:
        match event:
            case PagesTaken(taken=taken):
                owners |= {page: one.rid for one in taken for page in one.pages}
            case PagesReturned(rid=rid, pages=pages):
                assert {owners[page] for page in pages} == {rid}
                owners |= dict.fromkeys(pages, "")
