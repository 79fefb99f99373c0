"""After any run, the tree folded from the log is the engine's own tree; so is one folded from a snapshot in between."""

from __future__ import annotations

import random
import re
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_page import with_all_rows

from workbench.cache.radix import path_to
from workbench.engine.core import EngineCore
from workbench.errors import InvalidRequest
from workbench.events import EventLog, NodeAdded, NodeEvicted, PathHeld, PrefixMatched
from workbench.testing import FoldReader, make_core
from workbench.types import Request, SamplingParams
from workbench.views.fold import Facts
from workbench.views.tree import drawn as tree_drawn
from workbench.views.tree.drawn import MAX_NODES, NUM_DRAWN
from workbench.views.tree.fold import MAX_PICTURE, TreeFold

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
        "chunked_prefill_size": st.sampled_from([3, 8, 64]),
        "max_running_requests": st.sampled_from([1, 3, 64]),
        "eviction_policy": st.sampled_from(["lru", "lfu"]),
    }
)


def open_core(*, capacity: int = 100_000, **config: Any) -> EngineCore:
    return make_core(**{"num_tokens": 400, "context_length": CONTEXT, "vocab_size": VOCAB, "log": EventLog(capacity)} | config)


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
    pins = fold.nodes.holders()
    nodes = {
        row.id: (row.parent.id, row.namespace, row.token_ids, row.num_hits, row.made_by, row.made_at, row.used_at, row.used_by,
                 len(pins.get(row.id, ())))
        for row in fold.nodes.by_id.values()
    }  # fmt: skip
    for row in fold.nodes.by_id.values():
        below = [row, *(child for child in fold.nodes.by_id.values() if row in child.path()[:-1])]
        assert (row.num_nodes, row.num_tokens) == (len(below), sum(len(each.token_ids) for each in below))
    held = {rid: (h.row.id, [row.id for row in h.row.path()], h.num_shared) for rid, h in fold.nodes.held.items()}
    return {"nodes": nodes, "held": held}


@settings(deadline=None)
@given(config=cores, moves=moves)
def test_after_every_move_the_folded_log_is_the_engines_tree(config, moves):
    core = open_core(**config)
    reader = FoldReader(core, TreeFold)
    for _ in play(core, moves):
        fold = reader.read()
        assert folded_tree(fold) == real_tree(core)
        assert fold.num_tokens == sum(len(node.token_ids) for node in core.cache.tree.nodes.values())


@settings(deadline=None)
@given(config=cores, moves=moves, late=st.integers(0, 40))
def test_a_reader_that_lost_events_goes_on_from_a_snapshot(config, moves, late):
    core = open_core(**config, capacity=8)
    reader = FoldReader(core, TreeFold)
    for i, _ in enumerate(play(core, moves)):
        if i == late:
            reader.restart()
        if i >= late:
            assert folded_tree(reader.read()) == real_tree(core)


@pytest.mark.parametrize("page", [1, 2, 4])
@pytest.mark.parametrize("policy", ["lru", "lfu"])
def test_the_journal_tells_every_eviction_and_who_came_for_it_again(page, policy):
    """Covers what the tree itself evicts; whole prompts are not in the log."""
    core, fold = open_core(page_size=page, num_tokens=72, eviction_policy=policy), TreeFold(Facts(page_size=page))
    drawn, moves = random.Random(page), []
    for _ in range(300):
        prompt = (*TRUNK[: drawn.randint(1, 6) * 4], *drawn.choices(range(2), k=drawn.randint(0, 8)))
        moves += [("add", prompt, drawn.randint(0, 12), drawn.choice(["", "", "other"])), ("step", drawn.randint(1, 4))]
    moves.insert(400, ("flush",))
    given_up, evict = [], core.cache.tree.evict

    def watched(num_pages: int, needed_by: str):
        for node, key in evict(num_pages, needed_by):
            before = tuple(token for step in path_to(node.parent) for token in step.token_ids)
            facts = [node.id, node.token_ids, len(before), node.made_by, node.num_hits, key, needed_by, ""]
            given_up.append(((node.namespace, *before, *node.token_ids[:page]), facts))
            yield node, key

    core.cache.tree.evict = watched
    requests = {f"r{i}": (move[3], move[1]) for i, move in enumerate(move for move in moves if move[0] == "add")}
    for _ in play(core, moves):
        pass
    expected: dict[tuple[Any, ...], list[Any]] = {}
    for event in core.log.read()[1]:
        fold.apply(event)
        if isinstance(event, NodeEvicted):
            place, facts = given_up.pop(0)
            expected.pop(place, None)
            expected[place] = facts
        elif isinstance(event, PrefixMatched) and event.reason == "evicted":
            namespace, prompt = requests[event.rid]
            facts = expected[namespace, *prompt[: event.num_cached + page]]
            facts[-1] = facts[-1] or event.rid
    assert [
        [n.node_id, n.token_ids, n.num_before, n.made_by, n.num_hits, n.score, n.needed_by, n.wanted_by]
        for n in fold.evictions().nodes
    ] == [*reversed(expected.values())]
    assert sum(bool(node.wanted_by) for node in fold.evictions().nodes) >= 1
    assert all(node.age_s >= node.idle_s >= 0 for node in fold.evictions().nodes)


def test_what_was_evicted_too_early_is_told_with_who_needed_the_room_and_who_came_back():
    core, fold = open_core(num_tokens=CONTEXT), TreeFold(Facts(info={"eviction_policy": "lru"}))
    early, late = tuple(range(10)), tuple(range(12, 31))
    big = tuple(31 - i % 3 for i in range(30))
    for _ in play(
        core, [("add", early, 2, ""), ("step", 6), ("add", late, 2, ""), ("step", 6), ("add", big, 8, ""), ("step", 12)]
    ):
        pass
    for _ in play(core, []):
        pass
    core.add(Request(rid="again", input_ids=early, params=SamplingParams(max_new_tokens=1)))
    core.step()
    for event in core.log.read()[1]:
        fold.apply(event)
    journal = fold.evictions()
    (first,) = (node for node in journal.nodes if node.token_ids[:10] == early)
    assert (first.made_by, first.needed_by, first.wanted_by, first.num_hits) == ("r0", "r2", "again", 0)
    assert journal.num_tokens == sum(len(node.token_ids) for node in journal.nodes)
    assert "by lru" in journal.title
    assert "1 (10 tokens) had to be computed again" in journal.title
    for form in (journal.to_text(), journal.to_html()):
        assert f"#{first.node_id}" in form
        assert "by again, " in form
    assert "none in the event log" in TreeFold().evictions().to_html()


def test_a_node_tells_its_text_its_maker_and_its_users():
    core, fold = open_core(), TreeFold()
    for _ in play(core, [("add", (1, 2, 3, 4), 2, ""), ("step", 5), ("add", (1, 2, 3, 9), 9, ""), ("step", 2)]):
        pass
    for event in core.log.read()[1]:
        fold.apply(event)
    shared = next(row for row in fold.nodes.by_id.values() if row.token_ids == (1, 2, 3))
    facts = fold.node(shared.id)
    assert (facts.made_by, facts.used_by, facts.held_by, facts.num_hits) == ("r0", ("r1",), ("r1",), 1)
    assert (facts.text, facts.num_before, len(facts.children)) == ("1 2 3", 0, 2)
    assert "K/V" not in facts.to_text(), "its size is unknown here"
    fold.facts = Facts(info={"kv_cache_dtype": "int8", "kv_bytes_per_token": 2048})
    assert "6.0 KiB in int8" in fold.node(shared.id).to_text()
    assert "6.0 KiB in int8" in fold.node(shared.id).to_html()
    with pytest.raises(InvalidRequest, match="a node of the tree"):
        fold.node(10_000)


def added(number: int, parent: int, tokens: tuple[int, ...]) -> NodeAdded:
    return NodeAdded(time=float(number), node_id=number, parent_id=parent, token_ids=tokens, pages=tokens, namespace="", rid="r")


def drawn_rows(fold: TreeFold) -> list[list[Any]]:
    return msgspec.json.decode(fold.state()["rows"])


@pytest.mark.parametrize(("most", "drawn"), [(MAX_NODES, NUM_DRAWN), (6, 4)])
@settings(deadline=None)
@given(config=cores, moves=moves)
def test_rows_written_piece_by_piece_are_those_of_a_fold_that_is_asked_once(most, drawn, config, moves):
    """The tree also grows too large to draw all of it, and shrinks again; siblings stand in one order."""
    with patch.multiple(tree_drawn, MAX_NODES=most, NUM_DRAWN=drawn):
        core = open_core(**config)
        reader = FoldReader(core, TreeFold)
        for _ in play(core, moves):
            fold = reader.read()
            fold.settle()
            once = TreeFold()
            for event in core.log.read()[1]:
                once.apply(event)
            assert by_parent(drawn_rows(fold)) == by_parent(drawn_rows(once))
            assert fold.state()["hidden"] == once.state()["hidden"]


@settings(deadline=None)
@given(config=cores, moves=moves, told_every=st.integers(1, 4))
def test_a_page_that_is_told_the_changes_has_the_rows_of_the_fold(config, moves, told_every):
    core = open_core(**config)
    reader = FoldReader(core, TreeFold)
    page: list[list[Any]] = []
    for number, _ in enumerate(play(core, moves)):
        fold = reader.read()
        rows = drawn_rows(fold)
        if number % told_every == 0:
            changes = fold.drawn.take_changes(0.0)
            news = {"rows": rows} if changes is None else {"changed": msgspec.json.decode(changes)}
            page = with_all_rows(news, page)["rows"]
            assert by_parent(page) == by_parent(rows)


def test_only_what_changed_is_told_and_everything_again_after_a_while_or_when_the_tree_was_too_large(monkeypatch):
    fold = TreeFold()
    for number in range(1, 6):
        fold.apply(added(number, 0, (number,)))

    def told(now: float) -> Any:
        drawn_rows(fold)
        changes = fold.drawn.take_changes(now)
        return None if changes is None else msgspec.json.decode(changes)

    assert told(10.0) is None
    assert told(10.1) == {"gone": [], "rows": []}
    fold.apply(PathHeld(time=9.0, rid="r", node_id=3, namespace="", num_tokens=1, is_hit=True))
    fold.apply(NodeEvicted(time=9.0, node_id=1, num_tokens=1, score=0.0, needed_by="r"))
    fold.apply(added(7, 3, (7,)))
    news = told(10.2)
    assert (news["gone"], [row[0] for row in news["rows"]]) == ([1], [3, 7])
    assert told(11.9) == {"gone": [], "rows": []}
    assert told(12.0) is None
    monkeypatch.setattr(tree_drawn, "MAX_NODES", 3)
    assert told(12.1) is told(12.2) is None
    monkeypatch.setattr(tree_drawn, "MAX_NODES", 30)
    assert told(12.3) is None
    assert told(12.4) is not None


def test_changes_that_nobody_asks_for_do_not_pile_up():
    fold = TreeFold()
    for number in range(1, 100):
        fold.apply(added(number, 0, (number,)))
        if number > 10:
            fold.apply(NodeEvicted(time=1.0, node_id=number - 10, num_tokens=1, score=0.0, needed_by="r"))
        fold.state()
        if number == 50:
            assert fold.drawn.take_changes(0.0) is None, "all are told the first time"
    assert fold.drawn.take_changes(0.1) is None, "all are told: that is shorter than what changed"


def by_parent(rows: list[list[Any]]) -> dict[Any, list[list[Any]]]:
    """Returns the rows under each node, at the root those of each namespace, in their order."""
    groups: dict[Any, list[list[Any]]] = {}
    for row in rows:
        groups.setdefault(row[1] or row[10], []).append(row)
    return groups


def test_a_large_tree_is_drawn_anew_after_a_while_and_when_a_cell_ends(monkeypatch):
    monkeypatch.setattr(tree_drawn, "MAX_NODES", 3)
    fold = TreeFold()
    for number in range(1, 6):
        fold.apply(added(number, 0, (number,)))
    assert len(drawn_rows(fold)) == 5
    fold.apply(NodeAdded(time=5.5, node_id=6, parent_id=0, token_ids=(6,), pages=(6,), namespace="", rid="r"))
    assert (len(drawn_rows(fold)), fold.state()["num_nodes"]) == (5, 6)
    version = fold.version
    fold.settle()
    assert fold.version > version, "there is something to draw"
    assert len(drawn_rows(fold)) == 6
    fold.apply(added(8, 0, (8,)))
    assert len(drawn_rows(fold)) == 7, "two seconds later"
    for number in (1, 2, 3, 4):
        fold.apply(NodeEvicted(time=9.0, node_id=number, num_tokens=1, score=0.0, needed_by="r"))
    assert [row[0] for row in drawn_rows(fold)] == [5, 6, 8]


def test_a_tree_of_many_nodes_is_drawn_as_its_largest_parts_and_the_rest_is_counted():
    fold = TreeFold()
    rng, ids = random.Random(0), [0]
    for number in range(1, MAX_NODES + 500):
        fold.apply(added(number, rng.choice(ids[-300:]), tuple(range(rng.randint(1, 9)))))
        ids.append(number)
    rows = drawn_rows(fold)
    drawn = {row[0] for row in rows}
    assert len(rows) == NUM_DRAWN
    assert all(row[1] in drawn | {0} for row in rows), "parents stand before their children"
    tops = [row for row in fold.nodes.by_id.values() if row.parent.id == 0 and row.id not in drawn]
    assert len(rows) + sum(row[8] for row in rows) + sum(row.num_nodes for row in tops) == len(fold.nodes.by_id)
    assert sum(row[2] + row[9] for row in rows) + sum(row.num_tokens for row in tops) == fold.num_tokens
    assert fold.state()["hidden"] == [sum(row.num_nodes for row in tops), sum(row.num_tokens for row in tops)]
    assert len(fold.picture().lines) == MAX_PICTURE
    assert f"of {len(fold.nodes.by_id):,} nodes are shown" in fold.picture().to_text()
    closed = next(row for row in rows if row[8])
    fold.drawn.opened.add(closed[0])
    after = {row[0] for row in drawn_rows(fold)}
    assert {child.id for child in fold.nodes.by_id[closed[0]].children.values()} <= after
    fold.drawn.opened.add(0)
    assert fold.state()["hidden"] == [0, 0]


def test_a_search_finds_text_that_begins_in_one_node_and_ends_in_another():
    letters = Facts(decode=lambda ids: "".join(map(chr, ids)))
    fold = TreeFold(letters)
    for number, parent, text in ((1, 0, "The cap"), (2, 1, "ital of France"), (3, 1, " is blue"), (4, 2, " is")):
        fold.apply(added(number, parent, tuple(map(ord, text))))
    assert fold.search("capital") == [2]
    assert fold.search("THE CAP") == [1]
    assert fold.search("the capital of france is") == [4], "longer than the node it began in"
    assert fold.search(" is") == [4, 3]
    assert fold.search("") == fold.search("capitol") == []
    found = fold.detail({"text": "france is"})
    assert (found["found"], [row[0] for row in found["rows"]]) == ([4], [1, 2, 4])


def test_without_a_tokenizer_a_search_finds_numbers_in_a_row_across_two_nodes():
    fold = TreeFold()
    for number, parent, ids in ((1, 0, (10, 11)), (2, 1, (12, 13)), (3, 1, (14,))):
        fold.apply(added(number, parent, ids))
    assert fold.search("11 12") == fold.search("10 11 12 13") == [2]
    assert fold.search("11 14") == [3]
    assert fold.search("1112") == fold.search("11  12") == []


def test_the_picture_reads_well_where_a_page_drops_all_styles():
    fold = TreeFold(Facts(decode=lambda ids: "".join(map(chr, ids))))
    for number, parent, text in ((1, 0, "The cap"), (2, 1, "ital")):
        fold.apply(added(number, parent, tuple(map(ord, text))))
    bare = re.sub("<[^>]*>", "", re.sub("<style>.*?</style>|</?(div|p)>", "\n", fold.picture().to_html(), flags=re.S))
    shown = [line.rstrip() for line in bare.splitlines() if line.strip()]
    assert shown[2:6] == [
        "stored, computed once 11 taken from here, not computed again 0",
        "#1 The cap 7 tokens, idle 1.00 s",
        "&emsp;#2 ital 4 tokens, idle 0 ms",
        "held by a running request found again stored, not found yet",
    ]


def test_the_picture_shows_what_came_from_outside_as_text():
    fold = TreeFold(Facts(decode=lambda ids: "<script>alert(1)</script>\u202e"))
    fold.apply(added(1, 0, (1, 2)))
    fold.apply(PathHeld(time=2.0, rid="<b>r9</b>", node_id=1, namespace="", num_tokens=2, is_hit=True))
    for view in (fold.picture(), fold.node(1)):
        assert "<script" not in view.to_html()
        assert "<b>r9" not in view.to_html()
        assert "\u202e" not in view.to_html() + view.to_text()
    assert "held by <b>r9</b>" in fold.picture().to_text()
    assert fold.picture().num_saved == 2
