"""Leaves are evicted in the order in which scanning and sorting all of them gives, for every policy, and without a scan."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.standins.random_runs import CONFIGS, OPERATIONS, open_core, perform
from workbench.cache.eviction import EVICTION, SPARE
from workbench.cache.prefix import PrefixCache
from workbench.cache.radix import Node, RadixTree
from workbench.events import EventLog

POLICIES: dict[str, Callable[[Node], object]] = {
    **EVICTION,
    "most recently used": lambda node: -node.last_used,
    "largest": lambda node: -len(node.token_ids),
    "deepest": lambda node: -node.depth,
    "one namespace": lambda node: node.namespace != "other",
    "hits, then size": lambda node: (node.num_hits, len(node.token_ids)),
    "by its maker": lambda node: node.made_by,
    "by its user": lambda node: node.used_by[-1:],
    "all the same": lambda node: 0,
}


def sorted_leaves(tree: RadixTree) -> list[Node]:
    leaves = [node for node in tree.nodes.values() if not node.children and node.num_pins == 0]
    return sorted(leaves, key=lambda node: (tree.evict_key(node), node.last_used, node.id))


def watch(tree: RadixTree) -> list[int]:
    """Compares every eviction from now on with `sorted_leaves`; returns the ids of evicted nodes, in order, as a growing list."""
    evict, left = tree.evict, []

    def checked(num_pages: int, needed_by: str):
        evicted = evict(num_pages, needed_by)
        while True:
            before = sorted_leaves(tree)
            if (first := next(evicted, None)) is None:
                assert num_pages <= 0 or not before, "it stopped while there was more to evict"
                return
            assert first[0] is before[0]
            assert first[1] == tree.evict_key(before[0])
            left.append(first[0].id)
            num_pages -= len(first[0].segment.pages)
            yield first

    tree.evict = checked
    return left


@settings(max_examples=150)
@given(config=CONFIGS, operations=OPERATIONS, names=st.lists(st.sampled_from([*POLICIES]), min_size=1, max_size=3))
def test_an_engine_evicts_as_sorting_all_leaves_says_also_where_the_policy_is_swapped(config, operations, names):
    core = open_core({**config, "num_tokens": min(config["num_tokens"], 96)})
    watch(core.cache.tree)
    turn = count()

    def swap_now_and_then() -> None:
        if (number := next(turn)) % 7 == 0:
            core.cache.tree.evict_key = POLICIES[names[number // 7 % len(names)]]

    perform(core, operations, swap_now_and_then)
    core.flush_cache()
    assert core.cache.pool.num_free == core.cache.pool.num_pages


@pytest.mark.parametrize("name", POLICIES)
def test_a_busy_cache_evicts_as_sorting_all_leaves_says(name):
    cache = PrefixCache(400, 2, POLICIES[name], EventLog(0), count().__next__)
    left, rng, held = watch(cache.tree), random.Random(name), []
    for number in range(1500):
        prompt = tuple(rng.choice([(1,), (2, 3), (4, 5, 6, 7)])[0] for _ in range(rng.randrange(2, 40)))
        lease = cache.lease(cache.match(prompt, rng.choice(["", "other"]), len(prompt)), f"r{number}")
        if cache.grow(lease, len(prompt)):
            cache.commit(lease, prompt)
        held.append(lease)
        while len(held) > rng.randrange(1, 6):
            held.pop(rng.randrange(len(held))).release()
        cache.check()
    assert len(left) > 300


def wide_cache(num_leaves: int, policy: Callable[[Node], object]) -> PrefixCache:
    """Returns a cache with a full pool: `num_leaves` leaves of one page, and no free page."""
    cache = PrefixCache(num_leaves, 1, policy, EventLog(0), count().__next__)
    for token in range(num_leaves):
        store(cache, (token,))
    assert cache.pool.num_free == 0
    return cache


def store(cache: PrefixCache, prompt: tuple[int, ...]) -> None:
    with cache.lease(cache.match(prompt, "", len(prompt)), "r") as lease:
        assert cache.grow(lease, len(prompt))
        cache.commit(lease, prompt)


def test_an_eviction_asks_the_policy_of_what_changed_and_of_nothing_else():
    asked = []
    cache = wide_cache(2000, lambda node: asked.append(node) or node.last_used)
    asked.clear()
    for token in range(5000, 5100):
        store(cache, (token,))
    assert len(cache.tree.nodes) == 2000
    assert len(asked) <= 3 * 100


def test_places_that_no_longer_count_do_not_pile_up():
    cache = wide_cache(50, POLICIES["lru"])
    for _ in range(3000):
        store(cache, (7,))
    assert len(cache.tree._evictable._heap) <= 2 * 50 + SPARE


def test_a_policy_that_fails_is_not_taken_and_the_one_before_stays():
    cache = wide_cache(20, POLICIES["lru"])

    def failing(node: Node) -> float:
        return 1 / (node.id - 10)

    with pytest.raises(ZeroDivisionError):
        cache.tree.evict_key = failing
    watch(cache.tree)
    for token in range(100, 130):
        store(cache, (token,))
    cache.check()
