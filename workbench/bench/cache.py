"""Measures the prefix cache as its tree grows, with a full pool: look-ups, changes, evictions, engine steps, snapshots.

No model: the tree is filled with random pages, eight leaves below each shared one, and the steps are the fake runner's.
Figures are medians of single operations, in microseconds; a snapshot is given per node.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any

from workbench.bench.report import machine, markdown_table
from workbench.cache.eviction import EVICTION
from workbench.cache.prefix import Lease, PrefixCache
from workbench.engine.core import EngineCore
from workbench.engine.fake import FakeRunner
from workbench.engine.limits import CoreConfig
from workbench.engine.snapshot import snapshot
from workbench.events import NodeEvicted, StepExecuted
from workbench.types import Request, SamplingParams

PAGE, FAN_OUT, LEAF_PAGES = 16, 8, 2
PAGES_PER_GROUP = 1 + FAN_OUT * LEAF_PAGES
Prompt = tuple[int, ...]


def add_args(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000], help="sizes of the tree")
    parser.add_argument("--times", type=int, default=500, help="operations of each kind (default: 500)")


def run(args: argparse.Namespace) -> int:
    rows = []
    for num_nodes in args.nodes:
        figures = measure(num_nodes, args.times)
        rows.append([f"{num_nodes:,}", *(f"{figure:.1f}" for figure in figures.values())])
        print(f"{num_nodes:,} nodes measured", flush=True)
    print(markdown_table(["nodes", *figures], rows), end="\n\n")
    print(machine())
    return 0


def measure(num_nodes: int, times: int) -> dict[str, float]:
    """Returns microseconds by operation; a tree that is too small for `times` operations runs fewer."""
    core, stored = full_core(num_nodes, random.Random(num_nodes))
    cache, rng = core.cache, random.Random(0)
    times = min(times, len(stored) // 12)
    asked = rng.sample(stored[len(stored) // 2 :], times)  # the older half is evicted
    figures = {"match": median_us(lambda prompt: cache.match(prompt, "", len(prompt)), asked)}
    with ExitStack() as held:
        for name, policy in EVICTION.items():
            cache.evict_key = policy
            lease = held.enter_context(new_lease(cache))
            figures[f"evict, {name}"] = median_us(partial(grow, lease), range(LEAF_PAGES, times * LEAF_PAGES, LEAF_PAGES))
        cache.evict_key = EVICTION["lru"]
        step_us, num_events = steps(core, times, rng)
    figures["insert"] = median_us(lambda prompt: store(cache, prompt), [random_page(rng) for _ in range(times)])
    figures["split"] = median_us(lambda prompt: cache.lease(cache.match(prompt, "", 2 * PAGE), "split").release(), asked)
    figures |= {"engine step": step_us, "events in a step": num_events}
    figures["snapshot, per node"] = median_us(lambda _: snapshot(core), range(3)) / sum(1 for _ in cache.nodes())
    return figures


def full_core(num_nodes: int, rng: random.Random) -> tuple[EngineCore, list[Prompt]]:
    """Returns an engine with this number of nodes in its tree and no free page, and the stored prompts."""
    num_groups = num_nodes // (1 + FAN_OUT)
    config = CoreConfig(num_pages=num_groups * PAGES_PER_GROUP, page_size=PAGE, context_length=1024, vocab_size=256)
    core, stored = EngineCore(config, FakeRunner()), []
    for _ in range(num_groups):
        shared = random_page(rng)
        for _ in range(FAN_OUT):
            stored.append(shared + random_page(rng) + random_page(rng))
            store(core.cache, stored[-1])
    return core, stored


def store(cache: PrefixCache, prompt: Prompt) -> None:
    with cache.lease(cache.match(prompt, "", len(prompt)), "store") as lease:
        grow(lease, len(prompt) // PAGE)
        cache.commit(lease, prompt)


def new_lease(cache: PrefixCache) -> Lease:
    return cache.lease(cache.match((), "", 0), "new")


def steps(core: EngineCore, times: int, rng: random.Random) -> tuple[float, float]:
    """Requests one after the other, each evicting for its prompt: (median microseconds of a step, events in the log per step)."""
    seconds, first = [], core.log.num_added
    for number in range(times):
        params = SamplingParams(max_new_tokens=4, ignore_eos=True)
        core.add(Request(rid=f"r{number}", input_ids=random_page(rng) + random_page(rng), params=params))
        while core.has_work:
            began = time.perf_counter()
            core.step()
            seconds.append(time.perf_counter() - began)
    events = core.log.read(first)[1]
    assert sum(isinstance(event, NodeEvicted) for event in events) >= times, "the pool is meant to be full"
    assert sum(isinstance(event, StepExecuted) for event in events) == len(seconds)
    return statistics.median(seconds) * 1e6, len(events) / len(seconds)


def median_us(operation: Callable[[Any], object], items: Iterable[Any]) -> float:
    taken = []
    for item in items:
        began = time.perf_counter()
        operation(item)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


def grow(lease: Lease, num_pages: int) -> None:
    """Changes: the lease has so many pages, for which leaves are evicted."""
    is_grown = lease.cache.grow(lease, num_pages * PAGE)
    assert is_grown


def random_page(rng: random.Random) -> Prompt:
    return tuple(rng.randbytes(PAGE))
