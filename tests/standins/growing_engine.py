"""An engine for the feed alone: a log that grows by nodes of a tree, an end, and a record of the calls."""

from __future__ import annotations

import json
import time

from workbench.client.answers import Snapshot
from workbench.errors import EngineDead
from workbench.events import EventLog, NodeAdded, SnapshotTaken
from workbench.views.fold import Facts
from workbench.views.live import Source


class Engine:
    """The part of an engine that a feed needs: a log, an end, a tree with one node per call of `grow`."""

    def __init__(self, capacity: int = 1000) -> None:
        self.log, self.ended, self.aborted, self.num_nodes = EventLog(capacity), "", [], 0
        self.source = Source(self.log, Facts(), lambda: self)

    def abort(self, rid: str) -> None:
        self.aborted.append(rid)

    def node(self, number: int) -> NodeAdded:
        return NodeAdded(time=0.0, node_id=number, parent_id=0, token_ids=(number,), pages=(number,), namespace="", rid="r")

    def grow(self, count: int = 1) -> None:
        for _ in range(count):
            self.num_nodes += 1
            self.log.add(self.node(self.num_nodes))

    @property
    def engine(self) -> Engine:
        """Calls on it: `snapshot` and `flush_cache`."""
        if self.ended:
            raise EngineDead(self.ended)
        return self

    def snapshot(self) -> Snapshot:
        taken = SnapshotTaken(time=0.0, number=self.log.num_added)
        self.log.add(taken)
        return Snapshot([*(self.node(i + 1) for i in range(self.num_nodes)), taken])

    def flush_cache(self) -> int:
        return 7


def wait_until(true, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.005)


def drawn(widget) -> int:
    return len(json.loads(widget.get_state()["rows"]))
