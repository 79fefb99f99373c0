"""The KV map is the engine's own page account, and shows the owner of each page."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from random_runs import CONFIGS, OPERATIONS, facts, open_core, perform, squeezed

from workbench.cache.radix import path_to
from workbench.engine.core import EngineCore
from workbench.events import (
    EventLog,
    NodeAdded,
    NodeEvicted,
    NodeSplit,
    PagesReturned,
    PagesTaken,
    RequestRetracted,
    Taken,
)
from workbench.testing import FoldReader
from workbench.views.fold import Facts
from workbench.views.kv.drawn import MAX_RUNS
from workbench.views.kv.fold import KVFold
from workbench.views.kv.state import PageRun


def account(core: EngineCore) -> dict[int, str | int]:
    """Returns the owner of each page, from the engine's own objects."""
    owners: dict[int, str | int] = {}
    for node in core.cache.tree.nodes.values():
        owners |= dict.fromkeys(node.segment.pages, node.id)
    for lease in core.cache.leases:
        owners |= dict.fromkeys(lease.private, lease.rid)
    return owners


@settings(max_examples=150)
@given(CONFIGS, OPERATIONS)
def test_after_every_step_of_any_run_the_map_equals_the_engines_own_account(config, operations):
    core = open_core(config)
    reader = FoldReader(core, lambda: KVFold(facts(core)))

    def compare() -> None:
        kv = reader.read()
        expected = account(core)
        assert kv.owners() == expected
        paths = {lease.rid: [node.id for node in path_to(lease.node)] for lease in core.cache.leases}
        assert {rid: kv.path(rid) for rid in paths} == paths
        pool, tree = core.cache.pool, core.cache.tree
        num_owned = pool.num_pages - pool.num_free - tree.num_pages
        assert kv.counts == {"free": pool.num_free, "tree": tree.num_pages, "owned": num_owned}
        assert sum(kv.counts.values()) == kv.num_pages == pool.num_pages
        in_runs = {page: run for run in kv.runs() for page in range(run.start, run.start + run.length)}
        assert {page: run.owner for page, run in in_runs.items() if run.kind != "free"} == {
            page: str(owner) for page, owner in expected.items()
        }

    perform(core, operations, compare)


def test_a_squeezed_run_moves_pages_in_every_way_there_is():
    core = squeezed()
    events = core.log.read()[1]
    kv = FoldReader(core, lambda: KVFold(facts(core))).read()
    assert kv.owners() == account(core)
    for kind in (PagesTaken, PagesReturned, NodeAdded, NodeSplit, NodeEvicted, RequestRetracted):
        assert any(isinstance(event, kind) for event in events), kind


def test_pages_can_be_asked_by_owner_and_owners_by_page():
    kv = KVFold(Facts(num_pages=16, page_size=2))
    for event in (
        PagesTaken(time=0, taken=(Taken("a", (0, 1, 2)), Taken("b", (3,)))),
        NodeAdded(time=0, node_id=7, parent_id=0, token_ids=(1, 2, 3, 4), pages=(0, 1), namespace="", rid="a"),
    ):
        kv.apply(event)
    assert (kv.owner(0), kv.owner(2), kv.owner(3), kv.owner(4)) == (("tree", "7"), ("owned", "a"), ("owned", "b"), ("free", ""))
    assert (kv.pages("a"), kv.pages(7), kv.pages("nobody"), kv.pages(9)) == ((2,), (0, 1), (), ())
    kv.apply(NodeSplit(time=0, node_id=7, head_id=8, num_head=2))
    assert (kv.pages(8), kv.pages(7)) == ((0,), (1,))
    owners = [(0, 1, "tree", "8"), (1, 1, "tree", "7"), (2, 1, "owned", "a"), (3, 1, "owned", "b"), (4, 12, "free")]
    assert kv.runs() == [PageRun(*owner) for owner in owners]
    text = kv.picture().to_text()
    assert "16 pages of 2 tokens" in text
    assert "computed by a" in kv.picture().to_html()


def scattered(num_pages: int) -> KVFold:
    """Makes requests own every second page: the largest possible number of runs."""
    kv = KVFold(Facts(num_pages=num_pages))
    kv.apply(PagesTaken(time=0, taken=tuple(Taken(f"r{page % 60}", (page,)) for page in range(0, num_pages, 2))))
    return kv


def test_a_pool_in_many_pieces_is_drawn_in_a_bounded_number_of_marks():
    kv = scattered(200_000)
    assert len(kv.runs()) == 200_000
    picture = kv.picture()
    assert len(picture.runs) <= MAX_RUNS
    assert sum(run.length for run in picture.runs) == 200_000
    assert picture.counts["owned"] == 100_000
    assert len(kv.state()["runs"].split()) <= MAX_RUNS


def test_the_state_says_what_the_picture_shows():
    kv = scattered(100)
    state, at, read = kv.state(), 0, []
    for word in state["runs"].split():
        length, kind, owner = re.fullmatch(r"(\d+)([fto])(\d*)", word).groups()
        name = state["names"][int(owner)] if kind == "o" else owner
        read.append(PageRun(at, int(length), {"f": "free", "t": "tree", "o": "owned"}[kind], name))
        at += int(length)
    pages = [(run.kind, run.owner) for run in read for _ in range(run.length)]
    assert pages == [(run.kind, run.owner) for run in kv.picture().runs for _ in range(run.length)]
    assert dict(zip(state["names"], state["letters"], strict=True)) == {
        name: kv.picture().letters[name] for name in state["names"]
    }
    assert state["letters"].count("*") == 0  # 30 requests, 52 letters


@settings(max_examples=100)
@given(CONFIGS, OPERATIONS, st.integers(5, 60))
def test_a_reader_that_fell_behind_goes_on_from_a_snapshot_and_is_right_again(config, operations, capacity):
    core = open_core(config, EventLog(capacity))
    reader = FoldReader(core, lambda: KVFold(facts(core)))

    def now_and_then() -> None:
        if core.log.num_added - reader.number > capacity:
            reader.read()
        if core.log.num_added % 7 == 0:
            assert reader.read().owners() == account(core)

    perform(core, operations, now_and_then)
    now_and_then()
    assert reader.read().owners() == account(core)


def test_the_title_tells_type_and_size_of_the_numbers_where_they_are_known():
    info = {"kv_cache_dtype": "fp8_e4m3", "kv_bytes_per_token": 11520}
    for known, end in ((info, ", fp8_e4m3, 11.2 KiB a token"), ({}, "")):
        fold = KVFold(Facts(num_pages=300, page_size=4, info=known))
        for title in (fold.state()["title"], fold.picture().title):
            assert title == f"KV pool: 300 pages of 4 tokens{end}"
