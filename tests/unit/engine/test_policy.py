"""Schedule policies: small functions from the waiting requests to an order."""

from __future__ import annotations

import random

import pytest

from workbench.engine.policy import LPM_QUEUE_LIMIT, POLICIES, Candidate
from workbench.testing import make_core, make_request, run_to_end

SHARED, OTHER = list(range(40)), list(range(100, 130))


@pytest.fixture
def core():
    """A core whose tree holds two prompts."""
    core = make_core()
    for prompt in (SHARED, OTHER):
        core.add(make_request("stored", prompt, 1))
        run_to_end(core)
    return core


def order(core, policy: str, **prompts: list[int]) -> list[str]:
    """Returns the ids in a policy's order. A prompt's length is also the length of its output."""
    for rid, prompt in prompts.items():
        core.add(make_request(rid, prompt, len(prompt)))
    waiting = [Candidate(seq, core.cache) for seq in core.scheduler.waiting]
    ordered = POLICIES[policy](waiting, random.Random(0))
    assert sorted(map(id, ordered)) == sorted(map(id, waiting)), "no request is lost"
    return [candidate.seq.rid for candidate in ordered]


def test_fcfs_keeps_the_order_of_arrival(core):
    assert order(core, "fcfs", a=[7], b=SHARED, c=[8]) == ["a", "b", "c"]


def test_lpm_puts_the_longest_cached_prefix_first(core):
    assert order(core, "lpm", none=[7], part=SHARED[:11], most=SHARED, also_none=[8]) == ["most", "part", "none", "also_none"]


def test_lpm_falls_back_to_arrival_in_a_long_queue(core):
    prompts = {f"r{i}": [i % 256, 1] for i in range(LPM_QUEUE_LIMIT)} | {"cached": SHARED}
    assert order(core, "lpm", **prompts) == list(prompts)


def test_lof_puts_the_longest_output_first(core):
    assert order(core, "lof", short=[1], long=[2] * 9, middle=[3] * 5) == ["long", "middle", "short"]


def test_dfs_weight_goes_down_the_branch_with_most_requests(core):
    waiting = order(core, "dfs-weight", a=[*OTHER, 1], b=[*SHARED, 1], c=[*SHARED, 2], d=[200])
    assert waiting == ["b", "c", "a", "d"]


def test_random_is_a_shuffle_that_the_seed_fixes(core):
    first = order(core, "random", **{f"r{i}": [i] for i in range(8)})
    assert first == order(core, "random")
    assert first != [f"r{i}" for i in range(8)]


def test_a_candidate_looks_its_prompt_up_once_and_again_when_the_tree_changed_there(core):
    core.add(make_request("a", [*SHARED, 1, 2, 3], 1))
    candidate = Candidate(core.scheduler.waiting[0], core.cache)
    found = candidate.match
    assert candidate.match is found
    assert candidate.num_cached == 40
    with core.cache.lease(core.cache.match((*SHARED, 1, 9), "", 42), "r") as lease:
        core.cache.grow(lease, 42)
        core.cache.commit(lease, (*SHARED, 1, 9))
    assert candidate.num_cached == 41
