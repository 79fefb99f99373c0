"""The engine's present state as events: what brings an empty view to where a reader of the whole log would be.

For readers that come late or fell behind the bounded log. Past requests are gone; the tree, the queue and the batch are there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from workbench.cache.radix import Node
from workbench.client.answers import Snapshot
from workbench.engine.core import EngineCore
from workbench.engine.sequence import Sequence
from workbench.events import (
    NUM_FIRST,
    AnyEvent,
    NodeAdded,
    PagesTaken,
    PathHeld,
    RequestArrived,
    RequestScheduled,
    RequestWaiting,
    SnapshotTaken,
    Taken,
    TokenSampled,
)


def snapshot(core: EngineCore) -> Snapshot:
    """Returns the present state. Changes: logs that it was taken. Call it between two steps."""
    log = core.log
    pool, tree = core.cache.pool, core.cache.tree
    num_owned = pool.num_pages - pool.num_free - tree.num_pages
    taken = SnapshotTaken(time=core.clock(), number=log.num_added, pages_free=pool.num_free, pages_tree=tree.num_pages,
                          pages_owned=num_owned)  # fmt: skip
    if log.on:
        log.add(taken)
    return Snapshot([*_events(core), taken])


def _events(core: EngineCore) -> Iterator[AnyEvent]:
    yield from _tree(core)
    scheduler = core.scheduler
    for seq in (*scheduler.running, *scheduler.compiling, *scheduler.waiting):
        yield _arrived(seq)
        for position, token_id in enumerate(seq.output_ids):  # what else was known of them is gone
            yield TokenSampled(time=seq.arrived, rid=seq.rid, token_id=token_id, position=position)
    for seq in scheduler.running:
        assert seq.lease is not None
        yield RequestScheduled(
            time=seq.admitted_at,
            rid=seq.rid,
            num_cached=seq.num_computed,
            num_pending=seq.num_pending,
            resumed=bool(seq.output_ids),
        )
        node, num_shared = seq.lease.node, seq.lease.num_shared
        yield PathHeld(time=core.clock(), rid=seq.rid, node_id=node.id, namespace=node.namespace, num_tokens=num_shared)
    taken = tuple(Taken(lease.rid, tuple(lease.private)) for lease in core.cache.leases if lease.private)
    if taken:
        yield PagesTaken(time=core.clock(), taken=taken)
    for seq in (*scheduler.compiling, *scheduler.waiting):
        if seq.wait is not None and (present := seq.wait.present) is not None:
            reason, blocked_by, since = present
            yield RequestWaiting(time=since, rid=seq.rid, reason=reason, blocked_by=blocked_by)


def _tree(core: EngineCore) -> Iterator[NodeAdded]:
    """Yields the nodes of the tree, parents before children."""
    queue: deque[Node] = deque(child for root in core.cache.tree.roots.values() for child in root.children.values())
    while queue:
        node = queue.popleft()
        assert node.parent is not None
        yield NodeAdded(
            time=node.made_at, node_id=node.id, parent_id=node.parent.id, token_ids=node.token_ids, pages=node.segment.pages,
            namespace=node.namespace, rid=node.made_by, num_hits=node.num_hits, used_at=node.used_at, used_by=node.used_by,
        )  # fmt: skip
        queue.extend(node.children.values())


def _arrived(seq: Sequence) -> RequestArrived:
    request = seq.request
    return RequestArrived(
        time=seq.arrived, rid=seq.rid, num_prompt=seq.num_prompt, max_new_tokens=request.params.max_new_tokens,
        namespace=request.namespace, priority=request.priority, grammar=request.params.constraint,
        first_ids=request.input_ids[:NUM_FIRST],
    )  # fmt: skip
