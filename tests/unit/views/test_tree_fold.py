"""After any run, the tree folded from the log is the engine's own tree; and so is one folded from a snapshot on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.cache.radix import path_to
from workbench.engine.core import EngineCore
from workbench.engine.fake import FakeRunner, VirtualClock
from workbench.engine.limits import CoreConfig
from workbench.engine.snapshot import snapshot
from workbench.errors import InvalidRequest
from workbench.events import EventLog
from workbench.types import Request, SamplingParams
from workbench.views.tree import TreeFold

VOCAB, CONTEXT = 32, 56
TRUNK = tuple(i % VOCAB for i in range(0, 5 * CONTEXT, 5))

prompts = st.builds(
    lambda shared, own: (*TRUNK[:shared], *own), st.integers(1, 24), st.lists(st.integers(0, 2), min_size=0, max_size=12)
)
moves = st.lists(
    st.one_of(
        st.tuples(st.just("add"), prompts, st.integers(0, 12), st.sampled_from(["", "", "other"])),
        st.tuples(st.just("step"), st.integers(1, 4)),
        st.tuples(st.just("abort"), st.integers(0, 20)),
        st.tuples(st.just("flush")),
    ),
    min_size=4,
    max_size=40,
)
cores = st.fixed_dictionaries(
    {
        "page_size": st.sampled_from([1, 2, 4]),
        "num_tokens": st.sampled_from([CONTEXT, 72, 400]),
        "chunk": st.sampled_from([3, 8, 64]),
        "max_running": st.sampled_from([1, 3, 64]),
        "eviction_policy": st.sampled_from(["lru", "lfu"]),
    }
)


def make_core(*, page_size: int = 1, num_tokens: int = 400, capacity: int = 100_000, **config: Any) -> EngineCore:
    clock = VirtualClock()
    limits = CoreConfig(
        num_pages=num_tokens // page_size, page_size=page_size, context_length=CONTEXT, vocab_size=VOCAB, **config
    )
    return EngineCore(limits, FakeRunner(VOCAB, clock=clock), clock=clock, log=EventLog(capacity))


def play(core: EngineCore, moves: list[tuple[Any, ...]]):
    """Yields after every move."""
    num_added = 0
    for what, *args in moves:
        if what == "add":
            prompt, max_new, namespace = args
            params = SamplingParams(max_new_tokens=max_new)
            core.add(Request(rid=f"r{num_added}", input_ids=prompt, params=params, namespace=namespace))
            num_added += 1
        elif what == "step":
            for _ in range(args[0]):
                core.step()
        elif what == "abort":
            core.abort(f"r{args[0]}")
        else:
            core.flush_cache()
        yield


def real_tree(core: EngineCore) -> dict[str, Any]:
    nodes = {
        node.id: (node.parent.id, node.namespace, node.token_ids, node.num_hits, node.made_by, node.made_at, node.used_at,
                  node.used_by, node.num_pins)
        for node in core.cache.tree.nodes.values()
    }  # fmt: skip
    held = {lease.rid: (lease.node.id, [n.id for n in path_to(lease.node)], lease.num_shared) for lease in core.cache.leases}
    return {"nodes": nodes, "held": held}


def folded_tree(fold: TreeFold) -> dict[str, Any]:
    pins = fold.holders()
    nodes = {
        row.id: (row.parent.id, row.namespace, row.token_ids, row.num_hits, row.made_by, row.made_at, row.used_at, row.used_by,
                 len(pins.get(row.id, ())))
        for row in fold.rows.values()
    }  # fmt: skip
    held = {rid: (h.row.id, [row.id for row in h.row.path()], h.num_shared) for rid, h in fold.held.items()}
    return {"nodes": nodes, "held": held}


@settings(deadline=None)
@given(config=cores, moves=moves)
def test_after_every_move_the_folded_log_is_the_engines_tree(config, moves):
    core, fold, number = make_core(**config), TreeFold(), 0
    for _ in play(core, moves):
        first, events = core.log.read(number)
        number = first + len(events)
        for event in events:
            fold.apply(event)
        assert folded_tree(fold) == real_tree(core)
        assert fold.num_tokens == sum(len(node.token_ids) for node in core.cache.tree.nodes.values())


@settings(deadline=None)
@given(config=cores, moves=moves, late=st.integers(0, 40))
def test_a_reader_that_lost_events_goes_on_from_a_snapshot(config, moves, late):
    core, fold, number = make_core(**config, capacity=8), TreeFold(), -1
    for i, _ in enumerate(play(core, moves)):
        if i < late:
            continue
        first, events = core.log.read(max(number, 0))
        if number < 0 or first > number:
            fold = TreeFold()
            number, state = snapshot(core)
            for event in state:
                fold.apply(event)
            first, events = core.log.read(number)
        for event in events:
            fold.apply(event)
        number = first + len(events)
        assert folded_tree(fold) == real_tree(core)


def test_a_node_tells_its_text_its_maker_and_its_users():
    core, fold = make_core(), TreeFold()
    for _ in play(core, [("add", (1, 2, 3, 4), 2, ""), ("step", 5), ("add", (1, 2, 3, 9), 9, ""), ("step", 2)]):
        pass
    for event in core.log.read()[1]:
        fold.apply(event)
    shared = next(row for row in fold.rows.values() if row.token_ids == (1, 2, 3))
    facts = fold.node(shared.id)
    assert (facts.made_by, facts.used_by, facts.held_by, facts.num_hits) == ("r0", ("r1",), ("r1",), 1)
    assert (facts.text, facts.num_before, len(facts.children)) == ("1 2 3", 0, 2)
    with pytest.raises(InvalidRequest, match="a node of the tree"):
        fold.node(10_000)
