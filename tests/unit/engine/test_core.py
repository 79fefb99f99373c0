"""The core on `FakeRunner`: every output equals a plain loop, whatever the cache, the chunks and the memory do."""

from __future__ import annotations

import re

import pytest

from workbench.engine.progress import Progress
from workbench.errors import InvalidRequest, PromptTooLong, QueueFull
from workbench.events import PrefixMatched, RequestFinished, RequestRetracted, RequestWaiting, StepExecuted
from workbench.testing import VOCAB_SIZE, events_of, make_core, plain_loop, run_to_end
from workbench.testing import make_request as request
from workbench.why.request.explanation import explain


def run(core):
    """Returns the token ids of all requests: prompt and output."""
    outputs = run_to_end(core)
    return {rid: output.token_ids for rid, output in outputs.items()}, outputs


PROMPTS = [list(range(1, 40)), list(range(1, 25)) + [99] * 30, [7], list(range(100, 200)), list(range(1, 40))]


@pytest.mark.parametrize("page_size", [1, 4, 16])
@pytest.mark.parametrize("chunk", [1, 3, 64])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_engine_equals_the_plain_loop(page_size, chunk, mixed):
    core = make_core(num_pages=1024 // page_size, page_size=page_size, chunked_prefill_size=chunk, enable_mixed_chunk=mixed)
    for i, prompt in enumerate(PROMPTS):
        core.add(request(f"r{i}", prompt, 5 + i))
    outputs, finished = run(core)
    assert outputs == {f"r{i}": plain_loop(prompt, 5 + i) for i, prompt in enumerate(PROMPTS)}
    assert all(out.finish.type == "length" for out in finished.values())


@pytest.mark.parametrize("policy", ["lpm", "fcfs", "dfs-weight", "lof", "random"])
@pytest.mark.parametrize("eviction", ["lru", "lfu", "fifo"])
def test_every_policy_finishes_in_a_small_pool_with_retraction(policy, eviction):
    core = make_core(
        num_pages=150, context_length=140, schedule_policy=policy, eviction_policy=eviction, schedule_conservativeness=0.1
    )
    prompts = [[i] * 5 + list(range(20)) for i in range(12)]
    for i, prompt in enumerate(prompts):
        core.add(request(f"r{i}", prompt, 60))
    outputs, _ = run(core)
    assert outputs == {f"r{i}": plain_loop(prompt, 60) for i, prompt in enumerate(prompts)}
    assert events_of(core, RequestRetracted), "the pool was meant to be too small"


def test_a_retraction_names_its_cost_and_raises_the_ratio():
    core = make_core(num_pages=100, context_length=90, schedule_conservativeness=0.01)
    for i in range(4):
        core.add(request(f"r{i}", [i] * 10, 60))
    run(core)
    first = events_of(core, RequestRetracted)[0]
    assert first.num_lost > 0
    assert first.new_ratio > first.old_ratio
    assert first.needed_by != first.rid


def test_requests_with_a_common_prefix_compute_it_once():
    core = make_core()
    shared = list(range(100))
    for i in range(8):
        core.add(request(f"r{i}", [*shared, 200 + i], 1))
    run(core)
    assert core.runner.num_computed == 100 + 8
    matched = {event.rid: event.num_cached for event in events_of(core, PrefixMatched)}
    assert sorted(matched.values()) == [0] + [100] * 7
    waits = [event for event in events_of(core, RequestWaiting) if event.reason == "shared prefix in progress"]
    assert {event.blocked_by for event in waits} == {"r0"}


def test_the_next_turn_of_a_chat_reuses_prompt_and_answer():
    core = make_core()
    prompt = list(range(50))
    core.add(request("a", prompt, 10))
    answer = run(core)[0]["a"]
    core.add(request("b", [*prompt, *answer, 1, 2, 3], 10))
    outputs, finished = run(core)
    assert outputs["b"] == plain_loop([*prompt, *answer, 1, 2, 3], 10)
    assert finished["b"].num_cached == 50 + 9, "the last answer token was never computed"


def test_chunks_of_a_prefix_in_progress_are_shared_before_it_is_complete():
    core = make_core(chunked_prefill_size=32)
    core.add(request("long", range(200), 1))
    core.add(request("short", [*range(40), 255], 1))
    run(core)
    assert core.runner.num_computed == 201 + 0 or core.runner.num_computed == 200 + 1


def test_namespaces_never_share():
    core = make_core()
    for name in ("", "adapter"):
        core.add(request(f"r{name}", range(50), 2, namespace=name))
        assert run(core)[1][f"r{name}"].num_cached == 0
    assert events_of(core, PrefixMatched)[1].reason == "other namespace"
    assert events_of(core, PrefixMatched)[1].elsewhere == 49


def test_the_prefix_event_says_why_no_more_was_reused():
    core = make_core(page_size=4, num_pages=40, context_length=150)

    def ask(rid, prompt):
        core.add(request(rid, prompt, 1))
        run(core)
        return next(event for event in events_of(core, PrefixMatched) if event.rid == rid)

    assert ask("first", range(40)).reason == "nothing stored"
    assert ask("same", range(40)).reason == "whole prompt"
    other = ask("other", [*range(20), 99, 98, 97, 96, 95])
    assert (other.reason, other.num_cached, other.expected[:2]) == ("diverged", 20, (20, 21))
    assert other.asked == (99, 98, 97, 96, 95)
    assert "(20 reused, then the stored text goes on with '20 21 22 " in explain(core.log, "other", 0.0).sentence
    assert "', this prompt with '99 98 97 96 95')" in explain(core.log, "other", 0.0).sentence
    near = ask("near", [*range(22), 99, 98, 97])
    assert (near.reason, near.num_cached) == ("below page size", 20)
    ask("big", range(100, 240))
    assert ask("again", range(40)).reason == "evicted"


def test_a_disabled_cache_says_so_and_reuses_nothing():
    core = make_core(disable_radix_cache=True)
    for rid in "ab":
        core.add(request(rid, range(30), 3))
        assert run(core)[0][rid] == plain_loop(range(30), 3)
    assert {event.reason for event in events_of(core, PrefixMatched)} == {"disabled"}
    assert core.runner.num_computed == 2 * (30 + 2)


def test_abort_returns_every_page_within_one_step():
    core = make_core()
    core.add(request("a", range(30), 100))
    core.add(request("b", range(60, 90), 5))
    core.step()
    assert core.abort("a")
    assert not core.abort("a")
    assert not core.abort("never")
    outputs, finished = run(core)
    assert finished["a"].finish.type == "abort"
    assert outputs["b"] == plain_loop(range(60, 90), 5)[1:]
    assert core.cache.pool.num_free + core.cache.tree.num_pages == core.cache.pool.num_pages


def test_an_abort_without_an_id_ends_nothing():
    core = make_core()
    core.add(request("a", max_new_tokens=4))
    assert not core.abort("")
    assert run_to_end(core)["a"].finish.type == "length"


def test_aborting_a_group_ends_all_its_samples_and_nobody_else():
    core = make_core(max_running_requests=2)
    for j in range(3):
        core.add(request(f"a-{j}", range(30), 100, group="a"))
    core.add(request("a-3", range(60, 90), 5))
    core.step()
    assert core.abort("a")
    assert not core.abort("a")
    outputs, finished = run(core)
    assert [rid for rid, out in finished.items() if out.finish.type == "abort"] == ["a-0", "a-1", "a-2"]
    assert outputs["a-3"] == plain_loop(range(60, 90), 5)[1:]


def test_a_timeout_is_an_abort_that_names_its_limit():
    core = make_core()
    core.add(request("slow", range(30), 300, timeout_s=0.2))
    _, finished = run(core)
    assert "0.2 s" in finished["slow"].finish.message


def test_higher_priority_goes_first():
    core = make_core(max_running_requests=1, schedule_policy="fcfs")
    for rid, priority in (("low", 0), ("high", 5), ("mid", 1)):
        core.add(request(rid, [priority] * 20, 2, priority=priority))
    run(core)
    assert [event.rid for event in events_of(core, RequestFinished)] == ["high", "mid", "low"]


def test_one_prefill_at_a_time_and_the_batch_limit_are_kept_and_named():
    core = make_core(prefill_only_one_req=True, max_running_requests=2)
    for i in range(4):
        core.add(request(f"r{i}", [i] * 20, 4))
    run(core)
    for event in events_of(core, StepExecuted):
        assert sum(member.kind == "prefill" for member in event.members) <= 1
        assert len(event.members) <= 2
    assert {"one prefill at a time", "batch full"} <= {event.reason for event in events_of(core, RequestWaiting)}


def test_a_step_never_exceeds_the_prefill_budget():
    core = make_core(chunked_prefill_size=16)
    for i in range(5):
        core.add(request(f"r{i}", [i] * 30, 2))
    run(core)
    assert max(sum(m.num_new for m in event.members if m.kind == "prefill") for event in events_of(core, StepExecuted)) == 16


def test_zero_new_tokens_scores_the_prompt_and_ends():
    core = make_core(chunked_prefill_size=7)
    core.add(request("score", range(30), 0, return_logprob=True, logprob_start_len=10))
    core.add(request("warm", range(30), 2))
    scored = []
    while core.has_work:
        for out in core.step():
            scored += out.prompt_logprobs
    assert [entry.token_id for entry in scored] == list(range(10, 30))


def test_scoring_a_cached_prompt_computes_what_it_must_and_says_why():
    core = make_core()
    core.add(request("warm", range(50), 1))
    run(core)
    core.add(request("score", range(50), 1, return_logprob=True, logprob_start_len=20))
    scored = []
    while core.has_work:
        for out in core.step():
            scored += out.prompt_logprobs
    assert [entry.token_id for entry in scored] == list(range(20, 50))
    event = events_of(core, PrefixMatched)[-1]
    assert (event.num_cached, event.reason) == (19, "scored")


@pytest.mark.parametrize("wanted", [{"return_hidden_states": True}, {"return_logprob": True, "logprob_start_len": 0}])
def test_what_is_computed_although_it_is_stored_is_told_from_what_is_not_stored(wanted):
    core = make_core()
    for _ in range(2):
        core.add(request("a", range(50), 1, **wanted))
        assert run(core)[1]["a"].num_cached == 0
    assert [event.reason for event in events_of(core, PrefixMatched)] == ["nothing stored", "scored"]


def test_stop_ids_and_end_tokens_end_the_output_and_ignore_eos_does_not():
    prompt = list(range(30))
    expected = plain_loop(prompt, 20)
    stop = expected[6]
    first = expected.index(stop)
    core = make_core(eos_ids=frozenset({stop}))
    core.add(request("eos", prompt, 20))
    core.add(request("ignored", prompt, 20, {"ignore_eos": True}))
    core.add(request("id", prompt, 20, {"ignore_eos": True, "stop_token_ids": [expected[3]]}))
    core.add(request("least", prompt, 20, {"min_new_tokens": first + 1}))
    outputs, finished = run(core)
    assert outputs["eos"] == expected[: first + 1]
    assert finished["eos"].finish.matched == stop
    assert outputs["ignored"] == expected
    assert outputs["id"][-1] == expected[3]
    assert finished["id"].finish.type == "stop"
    assert stop not in outputs["least"][: first + 1]


@pytest.mark.parametrize(
    ("bad", "error", "named"),
    [
        (request("x", []), InvalidRequest, "the prompt is empty"),
        (request("x", [1, 999]), InvalidRequest, "999"),
        (request("x", [-1]), InvalidRequest, "-1"),
        (request("x", range(200), 201), PromptTooLong, "400"),
        (request("x", [1] * 401), PromptTooLong, "401"),
        (request("x", [1], params={"stop_token_ids": [VOCAB_SIZE]}), InvalidRequest, "stop_token_ids"),
        (request("x", [1], params={"logit_bias": {"300": 1.0}}), InvalidRequest, "logit_bias"),
        (request("x", [1], logprob_start_len=2), InvalidRequest, "logprob_start_len"),
        (request("x", [1], timeout_s=-1.0), InvalidRequest, "timeout_s"),
        (request("x", [1], top_logprobs_num=300), InvalidRequest, "top_logprobs_num"),
        (request("ok", [1]), InvalidRequest, "in use"),
    ],
)
def test_what_can_never_be_served_is_refused_and_the_others_go_on(bad, error, named):
    core = make_core(context_length=400)
    core.add(request("ok", range(20), 4))
    with pytest.raises(error, match=named):
        core.add(bad)
    assert run(core)[0] == {"ok": plain_loop(range(20), 4)}


def test_a_pool_too_small_for_one_request_refuses_it_with_both_numbers():
    core = make_core(num_pages=30)
    with pytest.raises(PromptTooLong, match=r"20 \+ 11 tokens.*30 tokens"):
        core.add(request("x", range(20), 11))
    core.add(request("fits", range(20), 10))
    assert len(run(core)[0]["fits"]) == 10


def test_the_queue_limit_refuses_the_next_request():
    core = make_core(max_queued_requests=1, max_running_requests=1)
    core.add(request("a", [1]))
    core.add(request("b", [2]))
    with pytest.raises(QueueFull, match="2 requests open"):
        core.add(request("c", [3]))


def test_a_failing_forward_pass_ends_its_requests_and_the_engine_goes_on():
    core = make_core()
    execute, calls = core.runner.execute, []

    def flaky(plan):
        calls.append(plan)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return execute(plan)

    core.runner.execute = flaky
    core.add(request("a", range(20), 4))
    assert "out of memory" in run(core)[1]["a"].finish.message
    core.add(request("b", range(20), 4))
    assert run(core)[0]["b"] == plain_loop(range(20), 4)


class Fragile:
    """A text stream and a matcher in one; the method named `breaks_in` raises."""

    matched = None
    is_finished = False
    is_complete = True

    made = None

    def __init__(self, breaks_in, after=3):
        self.breaks_in, self.left = breaks_in, after

    def _called(self, name):
        if name == self.breaks_in:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError(f"{name} stumbled on \ud83d\nand more")

    def push(self, token_id):
        self._called("push")
        return "x", None

    def fill_mask(self, mask):
        mask[:] = -1

    def accept(self, token_id):
        self._called("accept")

    def finish(self):
        self._called("finish")
        return "!"


@pytest.mark.parametrize("breaks_in, after", [("push", 0), ("push", 3), ("accept", 0), ("accept", 3), ("finish", 0)])
def test_what_fails_while_an_output_is_handled_ends_that_request_alone(breaks_in, after):
    fragile = Fragile(breaks_in, after)
    core = make_core(page_size=4)
    core._text_for = lambda asked: fragile if asked.rid == "bad" else None
    core.add(request("good", range(20), 8))
    core.add(request("bad", range(100, 130), 8), matcher=fragile)
    outputs, finished = run(core)
    assert outputs["good"] == plain_loop(range(20), 8)
    assert outputs["bad"] == plain_loop(range(100, 130), 8)[: after + 1 if breaks_in != "finish" else 8]
    reason = finished["bad"].finish
    assert reason.type == "abort"
    said = rf"output token \d \(id \d+\) could not be handled: RuntimeError: {breaks_in} stumbled on \?"
    assert re.fullmatch(said, reason.message)
    assert [event.detail for event in events_of(core, RequestFinished) if event.rid == "bad"] == [reason.message]
    core.add(request("next", range(100, 130), 8))
    assert run(core)[0]["next"] == plain_loop(range(100, 130), 8)


def test_an_abort_succeeds_when_the_text_it_held_back_is_lost():
    core = make_core()
    core._text_for = lambda asked: Fragile("finish", 0)
    core.add(request("a", range(20), 8))
    core.step()
    assert core.abort("a")
    assert run(core)[1]["a"].finish.message == "aborted by the caller"


def test_flush_empties_what_nobody_uses():
    core = make_core()
    core.add(request("a", range(20), 4))
    run(core)
    assert core.flush_cache() == 23
    assert core.cache.tree.num_pages == 0


def test_progress_lines_are_spelled_as_the_reference_spells_them(caplog):
    core = make_core(num_pages=100, context_length=90, schedule_conservativeness=0.01)
    progress = Progress(core, interval=10)
    for i in range(4):
        core.add(request(f"r{i}", [i] * 10, 60))
    with caplog.at_level("INFO", logger="workbench.engine"):
        while core.has_work:
            progress.note(core.step())
    lines = [record.getMessage() for record in caplog.records]
    decode = (
        r"Decode batch\. #running-req: \d+, #token: \d+, token usage: [01]\.\d\d, "
        r"gen throughput \(token/s\): [\d.]+, #queue-req: \d+"
    )
    retracted = r"decode out of memory happened, #retracted_reqs: \d+, #new_token_ratio: [\d.]+ -> [\d.]+"
    prefill = (
        r"Prefill batch\. #new-seq: [1-4], #new-token: \d+, #cached-token: \d+, cache hit rate: [\d.]+%, "
        r"token usage: [01]\.\d\d, #running-req: \d+, #queue-req: \d+"
    )
    for kind in (prefill, decode, retracted):
        assert any(re.fullmatch(kind, line) for line in lines)
    assert all(re.fullmatch(f"{prefill}|{decode}|{retracted}", line) for line in lines)


def test_where_no_token_is_left_that_request_ends_alone():
    only_end = Fragile("nothing", 0)
    only_end.forced = lambda: b"the end"
    only_end.fill_mask = lambda mask: mask.__setitem__(slice(None), [1, *[0] * (len(mask) - 1)])
    core = make_core()
    core.add(request("good", range(20), 8))
    core.add(request("stuck", range(100, 130), 8, {"min_new_tokens": 4, "stop_token_ids": [0]}), matcher=only_end)
    outputs, finished = run(core)
    assert outputs["good"] == plain_loop(range(20), 8)
    assert finished["stuck"].finish.message.startswith(
        "no token is allowed at output position 0: grammar and min_new_tokens left"
    )


def test_a_request_that_times_out_takes_no_samples_along_that_are_grouped_under_its_id():
    core = make_core()
    core.add(request("a", max_new_tokens=50, timeout_s=1.0))
    core.add(request("a-0", max_new_tokens=4, group="a"))
    core.step()
    core.clock.now += 2
    outputs = run_to_end(core)
    assert (outputs["a"].finish.type, outputs["a-0"].finish.type) == ("abort", "length")
