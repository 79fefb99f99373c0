"""A prompt is looked up in the tree once, and again only if the tree changed where the match ended."""

from __future__ import annotations

import random
from itertools import count

from hypothesis import given, settings

from tests.standins.random_runs import CONFIGS, OPERATIONS, TRUNK, open_core, perform
from workbench.cache.eviction import EVICTION
from workbench.cache.prefix import PrefixCache
from workbench.events import EventLog
from workbench.types import Request, SamplingParams


@settings(max_examples=100)
@given(config=CONFIGS, operations=OPERATIONS)
def test_what_a_waiting_request_remembers_of_the_tree_is_what_a_new_look_up_finds(config, operations):
    core = open_core({**config, "max_running_requests": 2, "disable_radix_cache": False})
    cache = core.cache

    def compare() -> None:
        for candidate in core.scheduler.admission._candidates.values():
            seq = candidate.seq
            fresh, known = cache.match(seq.token_ids, seq.request.namespace, seq.reuse_limit), candidate.match
            assert (known.num_tokens, known.num_in_node, known.node.id) == (fresh.num_tokens, fresh.num_in_node, fresh.node.id)

    perform(core, operations, compare)


@settings(max_examples=60)
@given(config=CONFIGS, operations=OPERATIONS)
def test_a_look_up_that_goes_on_from_a_shorter_one_ends_where_a_whole_one_ends(config, operations):
    core = open_core({**config, "disable_radix_cache": False})
    prompt = (*TRUNK[:20], 0, 1, 2, 0)

    def compare() -> None:
        for limit in range(len(prompt) + 1):
            start = core.cache.match(prompt, "", limit)
            on, whole = core.cache.tree.match(prompt, "", None, start), core.cache.tree.match(prompt, "")
            assert (on.num_tokens, on.num_in_node, on.node.id) == (whole.num_tokens, whole.num_in_node, whole.node.id)

    perform(core, [*operations, ("add", 20, [0, 1], 2, "")])
    compare()


def test_a_prompt_is_walked_through_the_tree_once_on_admission():
    core = open_core({"page_size": 1, "num_tokens": 400, "schedule_policy": "dfs-weight"})

    def ask(rid: str) -> None:
        core.add(Request(rid=rid, input_ids=TRUNK[:30], params=SamplingParams(max_new_tokens=1)))
        while core.has_work:
            core.step()

    ask("first")
    tree, walks = core.cache.tree, []
    match = tree.match

    def counted(token_ids, namespace, limit=None, start=None):
        walks.append(start is None)
        return match(token_ids, namespace, limit, start)

    tree.match = counted
    ask("second")
    assert core.runner.num_computed == 30 + 1
    assert sum(walks) == 1, "from the root; at the end of its prompt it goes on from where it was"


def test_a_match_is_current_only_while_a_new_look_up_finds_the_same():
    cache, rng = PrefixCache(120, 2, EVICTION["lru"], EventLog(0), count().__next__), random.Random(1)

    def prompt() -> tuple[int, ...]:
        return (*TRUNK[: rng.randrange(20)], *(rng.randrange(2) for _ in range(rng.randrange(1, 8))))

    asked = [(prompt(), rng.choice(["", "other"])) for _ in range(40)]
    known = [cache.match(tokens, namespace, 99) for tokens, namespace in asked]
    num_kept = num_outdated = 0
    for number in range(1000):
        tokens = prompt()
        with cache.lease(cache.match(tokens, rng.choice(["", "other"]), len(tokens)), f"r{number}") as lease:
            if cache.grow(lease, len(tokens)):
                cache.commit(lease, tokens)
        for i, (tokens, namespace) in enumerate(asked):
            fresh = cache.match(tokens, namespace, 99)
            if cache.tree.is_current(known[i]):
                assert fresh == known[i]
                num_kept += 1
            else:
                num_outdated += fresh != known[i]
                known[i] = fresh
    assert num_kept > 30_000, "what changes elsewhere leaves a match as it is"
    assert num_outdated > 1000
