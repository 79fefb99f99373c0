"""`snapshot`: the engine's present state as events, for readers that come late or fell behind the bounded log.

It brings an empty fold to the state of one that read the whole log: the tree, the queue and the batch. Past requests are gone.
"""

from __future__ import annotations

from collections.abc import Iterator

from workbench.client.answers import Snapshot
from workbench.engine.core import EngineCore
from workbench.engine.logged import arrived
from workbench.events import (
    AnyEvent,
    NodeAdded,
    PagesTaken,
    PathHeld,
    RequestScheduled,
    RequestWaiting,
    SnapshotTaken,
    Taken,
    TokenSampled,
)


def snapshot(core: EngineCore) -> Snapshot:
    """Returns the present state. Changes: logs that it was taken. Call it between two steps."""
    log = core.log
    cache = core.cache
    taken = SnapshotTaken(time=core.clock(), number=log.num_added, pages_free=cache.num_free_pages,
                          pages_tree=cache.num_tree_pages, pages_owned=cache.num_owned_pages)  # fmt: skip
    if log.on:
        log.add(taken)
    return Snapshot([*_events(core), taken])


def _events(core: EngineCore) -> Iterator[AnyEvent]:
    scheduler = core.scheduler
    seqs = (*scheduler.running, *scheduler.compiling, *scheduler.waiting)
    shown = {-token for node in core.cache.nodes() if min(node.token_ids) < 0 for token in node.token_ids if token < 0}
    shown |= {number for seq in seqs for number in core.pictures.numbers(seq.request)}
    yield from core.pictures.of(shown)
    yield from _tree(core)
    for seq in seqs:
        yield arrived(seq, core.pictures.numbers(seq.request))
        for position, token_id in enumerate(seq.output_ids):  # what else was known of them is gone
            yield TokenSampled(time=seq.arrived, rid=seq.rid, token_id=token_id, position=position)
    for seq in scheduler.running:
        assert seq.lease is not None
        assert seq.admitted_at is not None
        yield RequestScheduled(
            time=seq.admitted_at,
            rid=seq.rid,
            num_cached=seq.num_computed,
            num_pending=seq.num_pending,
            resumed=bool(seq.output_ids),
        )
        node = seq.lease.node
        yield PathHeld(time=core.clock(), rid=seq.rid, node_id=node.id, namespace=node.namespace, num_tokens=seq.lease.num_shared)
    taken = tuple(Taken(lease.rid, tuple(lease.private)) for lease in core.cache.leases if lease.private)
    if taken:
        yield PagesTaken(time=core.clock(), taken=taken)
    for seq in (*scheduler.compiling, *scheduler.waiting):
        wait = scheduler.admission.refusals.wait_of(seq)
        if wait is not None and (present := wait.present) is not None:
            reason, blocked_by, since = present
            yield RequestWaiting(time=since, rid=seq.rid, reason=reason, blocked_by=blocked_by)


def _tree(core: EngineCore) -> Iterator[NodeAdded]:
    """Yields the nodes of the tree, parents before children."""
    for node in core.cache.nodes():
        assert node.parent is not None
        yield NodeAdded(
            time=node.made_at, node_id=node.id, parent_id=node.parent.id, token_ids=node.token_ids, pages=node.segment.pages,
            namespace=node.namespace, rid=node.made_by, num_hits=node.num_hits, used_at=node.used_at, used_by=node.used_by,
        )  # fmt: skip
