"""Steps of several tokens: whatever is drafted, outputs, accounts and events equal those of steps of one token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.standins.random_runs import CONFIGS, CONTEXT, OPERATIONS, TRUNK, VOCAB, open_core, perform
from workbench.engine.core import EngineCore
from workbench.engine.plan import PlannedSeq, Sampled, SampleRow, accepted
from workbench.engine.scheduler import Propose
from workbench.events import NodeAdded, PrefixMatched, RequestFinished, RequestScheduled, StepExecuted, TokenSampled
from workbench.testing import events_of, make_core, make_request, plain_loop, run_to_end
from workbench.types import Request, SamplingParams


def facts(core: EngineCore, rid: str) -> list[tuple]:
    """Returns the log of one request, without times and steps."""
    sampled = [(e.token_id, e.position, e.num_allowed, e.forced) for e in events_of(core, TokenSampled, rid)]
    ended = [(e.reason, e.detail, e.num_prompt, e.num_output) for e in events_of(core, RequestFinished, rid)]
    return [sampled, ended]


@settings(max_examples=120)
@given(config=CONFIGS, operations=OPERATIONS, seed=st.integers(0, 999))
def test_a_random_run_gives_the_same_outputs_and_token_events(config, operations, seed):
    plain, drafted = open_core({**config, "drafts": None}), open_core({**config, "drafts": seed})
    for core in (plain, drafted):
        perform(core, [operation for operation in operations if operation[0] != "abort"], core.cache.check)
    rids = {event.rid for event in events_of(plain, RequestFinished)}
    assert rids == {event.rid for event in events_of(drafted, RequestFinished)}
    for rid in rids:
        assert facts(plain, rid) == facts(drafted, rid)


@settings(max_examples=60)
@given(config=CONFIGS, shared=st.integers(0, 24), num_new=st.integers(0, 30), seed=st.integers(0, 999))
def test_one_request_after_the_other_leaves_the_same_tree_and_the_same_pages(config, shared, num_new, seed):
    cores = [open_core({**config, "drafts": None}), open_core({**config, "drafts": seed})]
    for core in cores:
        for i in range(3):
            prompt = (*TRUNK[:shared], i % 2)
            core.add(make_request(f"r{i}", prompt, min(num_new, CONTEXT - len(prompt)), {"ignore_eos": True}))
            run_to_end(core)
    plain, drafted = cores
    for kind in (PrefixMatched, RequestScheduled, NodeAdded, RequestFinished):
        assert [told(event) for event in events_of(plain, kind)] == [told(event) for event in events_of(drafted, kind)]
    assert sum(m.num_new for e in events_of(drafted, StepExecuted) for m in e.members) == plain.runner.num_computed
    assert drafted.runner.num_computed >= plain.runner.num_computed


def told(event: object) -> dict:
    return {name: getattr(event, name) for name in event.__struct_fields__ if name not in ("time", "pages", "evicted_ago")}


def test_right_guesses_make_fewer_steps_and_wrong_ones_as_many():
    def num_steps(propose: Propose | None) -> int:
        core = make_core(vocab_size=VOCAB, propose=propose)
        core.add(make_request("a", range(8), 60, {"ignore_eos": True}))
        assert run_to_end(core)["a"].token_ids == plain_loop(range(8), 60, VOCAB)
        return core.scheduler.num_steps

    assert num_steps(lambda seq: tuple(plain_loop(seq.token_ids, 5, VOCAB))) == 1 + 10
    assert num_steps(lambda seq: (0, 1, 2)) >= 50
    assert num_steps(None) == 60


@pytest.mark.parametrize("page_size", [1, 4])
def test_pages_of_rejected_drafts_are_free_after_the_step(page_size):
    plain, drafted = (
        make_core(vocab_size=VOCAB, page_size=page_size, propose=propose)
        for propose in (None, lambda seq: tuple((token + 1) % VOCAB for token in plain_loop(seq.token_ids, 9, VOCAB)))
    )
    for core in (plain, drafted):
        core.add(make_request("a", range(10), 20, {"ignore_eos": True}))
    while plain.has_work:
        plain.step()
        drafted.step()
        assert drafted.cache.num_free_pages == plain.cache.num_free_pages


def test_drafts_evict_nothing():
    answer = plain_loop([8] * 4, 20)
    core = make_core(num_pages=20, context_length=20, propose=lambda seq: (*plain_loop(seq.token_ids, 1), 0, 0, 0, 0, 0, 0))
    core.add(make_request("old", [9] * 14, 1))
    run_to_end(core)
    core.add(make_request("new", [8] * 4, 16, {"ignore_eos": True, "stop_token_ids": [answer[2]]}))
    assert run_to_end(core)["new"].token_ids == answer[:3]
    assert core.cache.num_tree_pages == 20, "all 14 of the old prompt, and the 6 that the new text needs"


def cuts(answer: list[int]) -> dict[str, tuple[dict, int]]:
    """Parameters that end an output early, and the tokens that remain of it."""
    return {
        "stop id": ({"stop_token_ids": [answer[7]], "ignore_eos": True}, answer.index(answer[7]) + 1),
        "length": ({"max_new_tokens": 5, "ignore_eos": True}, 5),
        "one token": ({"max_new_tokens": 1, "ignore_eos": True}, 1),
        "minimum": ({"stop_token_ids": [answer[7]], "min_new_tokens": 3, "ignore_eos": True}, answer.index(answer[7]) + 1),
    }


@pytest.mark.parametrize("kind", ["stop id", "length", "one token", "minimum"])
def test_an_output_ends_where_it_must_though_more_was_drawn(kind):
    prompt = list(range(20))
    answer = plain_loop(prompt, 30)
    params, num_left = cuts(answer)[kind]
    core = make_core(propose=lambda seq: tuple(plain_loop(seq.token_ids, 12)))
    core.add(make_request("a", prompt, 30, params))
    output = run_to_end(core)["a"]
    assert output.token_ids == answer[:num_left]
    (finished,) = events_of(core, RequestFinished)
    assert finished.num_output == num_left
    assert [event.position for event in events_of(core, TokenSampled)] == list(range(num_left))
    assert core.flush_cache() == len(prompt) + num_left - 1, "the last token is never computed, for the account"


@pytest.mark.parametrize("drawn, num", [((5, 6, 7), 3), ((5, 9, 7), 2), ((9, 6, 7), 1)])
def test_draws_count_up_to_the_first_that_is_not_its_draft(drawn, num):
    rows = (SampleRow(params=SamplingParams(), seed=0, position=4),) * 3
    planned = PlannedSeq(1, "a", (4, 5, 6), 10, (), rows)
    assert len(accepted(planned, tuple(map(Sampled, drawn)))) == num


@settings(max_examples=60)
@given(
    config=CONFIGS,
    prompts=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 24)), min_size=1, max_size=6),
    seed=st.integers(),
)
def test_hidden_states_and_log_probabilities_come_once_for_each_token(config, prompts, seed):
    core = open_core({**config, "drafts": seed})
    tokens, shown, scored = {}, {}, {}
    for i, (shared, num_new) in enumerate(prompts):
        prompt = (*TRUNK[:shared], i % 3)
        params = SamplingParams(max_new_tokens=min(num_new, CONTEXT - len(prompt)), ignore_eos=True)
        core.add(Request(rid=f"r{i}", input_ids=prompt, params=params, return_hidden_states=True, return_logprob=True))
        tokens[f"r{i}"], shown[f"r{i}"], scored[f"r{i}"] = [*prompt], [], []
    while core.has_work:
        for out in core.step():
            tokens[out.rid] += out.token_ids
            scored[out.rid] += [entry.token_id for entry in out.logprobs]
            for rows in out.hidden:
                shown[out.rid] += np.frombuffer(rows.data, np.float32).reshape(-1, rows.width).tolist()
    for rid, ids in tokens.items():
        num_output = len(scored[rid])
        assert scored[rid] == ids[len(ids) - num_output :]
        computed = ids[:-1] if num_output else ids
        assert shown[rid] == [[token, position] for position, token in enumerate(computed)]


def test_a_result_for_a_request_that_ended_since_it_was_planned_is_passed_over():
    """Plans the next step before this one is committed."""
    core = make_core()
    core.add(make_request("gone", range(10), 5))
    core.add(make_request("stays", range(50, 60), 5))
    core.step()
    plan = core.scheduler.plan()
    result = core.runner.execute(plan)
    core.abort("gone")
    outcomes = core.scheduler.commit(plan, result)
    assert [outcome.seq.rid for outcome in outcomes] == ["stays"]
    core.cache.check()
    assert run_to_end(core)["stays"].token_ids == plain_loop(range(50, 60), 5)[2:]
