"""Random runs of the real `EngineCore` on the fake runner, for tests that fold its log."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import strategies as st

from workbench.engine.core import EngineCore
from workbench.engine.scheduler import Propose
from workbench.engine.sequence import Sequence
from workbench.events import EventLog
from workbench.testing import make_core, plain_loop
from workbench.types import Request, SamplingParams
from workbench.views.fold import Facts

VOCAB, CONTEXT = 32, 56
TRUNK = tuple(i % VOCAB for i in range(0, 5 * CONTEXT, 5))
"""Common prefix of most prompts, so that nodes are shared and split."""

CONFIGS = st.fixed_dictionaries(
    {
        "page_size": st.sampled_from([1, 2, 4]),
        "num_tokens": st.sampled_from([CONTEXT, 72, 96, 400]),
        "chunked_prefill_size": st.sampled_from([3, 8, -1]),
        "max_running_requests": st.sampled_from([2, 64]),
        "enable_mixed_chunk": st.booleans(),
        "disable_radix_cache": st.sampled_from([False, False, False, True]),
        "eviction_policy": st.sampled_from(["lru", "lfu", "fifo"]),
        "schedule_conservativeness": st.sampled_from([0.02, 1.0]),
        "drafts": st.sampled_from([None, None, 0, 1]),
    }
)
"""Settings of a core; `drafts` seeds guesses of the next tokens."""
ADDS = st.tuples(
    st.just("add"), st.integers(0, 24), st.lists(st.integers(0, 2), min_size=1, max_size=10), st.integers(0, 20),
    st.sampled_from(["", "", "other"]),
)  # fmt: skip
"""Requests: (shared tokens, own tokens, output tokens, namespace)."""
OPERATIONS = st.lists(
    ADDS
    | st.tuples(st.just("step"), st.integers(1, 6))
    | st.tuples(st.just("abort"), st.integers(0, 9))
    | st.sampled_from([("flush",), ("drop",)]),
    min_size=3,
    max_size=40,
)


def open_core(config: dict, log: EventLog | None = None) -> EngineCore:
    """Returns a core of one of `CONFIGS`."""
    settings = {"context_length": CONTEXT, "vocab_size": VOCAB, **config}
    seed = settings.pop("drafts", None)
    return make_core(**settings, log=log, propose=None if seed is None else guess(seed, settings["vocab_size"]))


def guess(seed: int, vocab_size: int = VOCAB, most: int = 6) -> Propose:
    """Returns a proposer with the fake model's tokens: up to `most` tokens, of which each is wrong now and then."""

    def propose(seq: Sequence) -> tuple[int, ...]:
        rng = random.Random(f"{seed} {seq.rid} {len(seq.output_ids)}")
        tokens = plain_loop(seq.token_ids, rng.randrange(most + 1), vocab_size)
        return tuple(token if rng.random() < 0.7 else rng.randrange(vocab_size) for token in tokens)

    return propose


def perform(core: EngineCore, operations: list[tuple], after_each: Callable[[], None] = lambda: None) -> None:
    """Runs the operations in order, then the engine to its end. `after_each` runs between two steps."""
    rids: list[str] = []
    for operation in operations:
        match operation:
            case ("add", shared, own, max_new, namespace):
                rids.append(f"r{len(rids)}")
                params = SamplingParams(max_new_tokens=min(max_new, CONTEXT - shared - len(own)), ignore_eos=True)
                core.add(Request(rid=rids[-1], input_ids=(*TRUNK[:shared], *own), params=params, namespace=namespace))
            case ("step", count):
                for _ in range(count):
                    core.step()
                    after_each()
            case ("abort", which) if rids:
                core.abort(rids[which % len(rids)])
            case ("flush",):
                core.flush_cache()
            case ("drop",):
                core.drop_kv()
        after_each()
    while core.has_work:
        core.step()
        after_each()


def facts(core: EngineCore) -> Facts:
    return Facts(num_pages=core.config.num_pages, page_size=core.config.page_size)


def squeezed() -> EngineCore:
    """Returns a core after a run with all that views show: chunks, holdups, every reason to wait, reuse, retraction, eviction."""
    config = {
        "page_size": 1,
        "num_tokens": 72,
        "chunked_prefill_size": 8,
        "max_running_requests": 3,
        "schedule_conservativeness": 0.02,
    }
    core = open_core(config)

    def add(rid: str, shared: int, max_new: int) -> None:
        params = SamplingParams(max_new_tokens=max_new, ignore_eos=True)
        core.add(Request(rid=rid, input_ids=(*TRUNK[:shared], 1), params=params))

    add("a", 12, 40)
    add("b", 12, 40)
    for _ in range(5):
        core.step()
    add("long", 40, 12)
    add("late", 4, 8)
    while core.has_work:
        core.step()
    return core
