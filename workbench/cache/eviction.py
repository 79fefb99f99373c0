"""Eviction policies: one small function from a tree node to a sort key; the unused leaf with the smallest leaves first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.cache.radix import Node

EvictionPolicy = Callable[["Node"], float]


def lru(node: Node) -> float:
    """Least recently used."""
    return node.last_used


def lfu(node: Node) -> float:
    """Least frequently used; equal counts leave in LRU order, as every tie does."""
    return node.num_hits


def fifo(node: Node) -> float:
    """Oldest first."""
    return node.created


EVICTION: dict[str, EvictionPolicy] = {"lru": lru, "lfu": lfu, "fifo": fifo}
