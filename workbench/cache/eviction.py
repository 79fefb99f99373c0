"""Eviction policies, and the queue that keeps the unused leaves of the tree in their order.

A policy is one small function from a node to a sort key; the smallest key leaves first. It may read the node's own fields
(`last_used`, `num_hits`, `created`, `token_ids`, `namespace`, `depth`, `made_by`, ...). The key is computed when the node
becomes an unused leaf and whenever it changes as one, not at every eviction: that is what makes an eviction cheap. A
policy that reads anything else (other nodes, the time) keeps the key of that moment; set `evict_key` again to have all keys
computed again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.cache.radix import Node

EvictionPolicy = Callable[["Node"], float]
Place = tuple[float, int, int, "Node"]
"""(key, last use, id, node): equal keys leave in LRU order."""
SPARE = 64
"""Outdated entries that are always tolerated."""


def lru(node: Node) -> float:
    """Evicts the least recently used first."""
    return node.last_used


def lfu(node: Node) -> float:
    """Evicts the least frequently used first; equal counts leave in LRU order, as every tie does."""
    return node.num_hits


def fifo(node: Node) -> float:
    """Evicts the oldest first."""
    return node.created


EVICTION: dict[str, EvictionPolicy] = {"lru": lru, "lfu": lfu, "fifo": fifo}


def place(policy: EvictionPolicy, node: Node) -> Place:
    """Returns the place of an unused leaf in the order. Reads only."""
    return policy(node), node.last_used, node.id, node


class EvictionQueue:
    """All unused leaves in the policy's order: a heap with lazy deletion, where an entry counts while it is its node's place."""

    def __init__(self, policy: EvictionPolicy, nodes: Iterable[Node] = ()) -> None:
        self.policy = policy
        self._heap = [place(policy, node) for node in nodes if node.is_unused_leaf]
        for entry in self._heap:
            entry[3].place = entry
        self._num_leaves = len(self._heap)
        heapq.heapify(self._heap)

    def update(self, node: Node) -> None:
        """Changes: gives a node that changed its new place, or none. O(log n), amortised."""
        self._num_leaves -= node.place is not None
        node.place = None
        if node.is_unused_leaf:
            node.place = place(self.policy, node)
            heapq.heappush(self._heap, node.place)
            self._num_leaves += 1
        if len(self._heap) > 2 * self._num_leaves + SPARE:
            self._heap = [entry for entry in self._heap if entry[3].place is entry]
            heapq.heapify(self._heap)

    def pop(self) -> tuple[Node, float] | None:
        """Changes: takes out the first leaf. Returns it and its key, or None if there is no unused leaf."""
        while self._heap:
            entry = heapq.heappop(self._heap)
            key, _, _, node = entry
            if node.place is entry:
                node.place = None
                self._num_leaves -= 1
                return node, key
        return None
