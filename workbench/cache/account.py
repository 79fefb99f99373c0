"""The account of the cache, as one check: every page has one owner, and every pin a lease."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from workbench.cache.pages import PagePool
from workbench.cache.radix import Node, RadixTree, path_to
from workbench.errors import CacheCorrupt

MOST_NAMED = 8
"""Most of the wrong nodes that an error names."""


class Holding(NamedTuple):
    """A lease in the account: the node where its path ends, and its private pages."""

    node: Node
    pages: Sequence[int]


def check_account(pool: PagePool, tree: RadixTree, holdings: Sequence[Holding]) -> None:
    """Raises `CacheCorrupt` unless pages balance and pins equal the holdings on each path. Reads only."""
    owned = [page for node in tree.nodes.values() for page in node.segment.pages]
    pool.check([*owned, *(page for holding in holdings for page in holding.pages)])
    _check_pins(tree, holdings)
    _check_roots(tree, holdings)
    misplaced = [node.id for node in tree.nodes.values() if (node.place is not None) != node.is_unused_leaf]
    if misplaced:
        raise CacheCorrupt(f"nodes {misplaced[:MOST_NAMED]} are unused leaves or stand in the eviction queue, not both")


def _check_pins(tree: RadixTree, holdings: Sequence[Holding]) -> None:
    counted = Counter(node.id for holding in holdings for node in path_to(holding.node))
    nodes = tree.nodes.values()
    wrong = {node.id: (node.num_pins, counted[node.id]) for node in nodes if node.num_pins != counted[node.id]}
    if wrong:
        raise CacheCorrupt(f"node pins (held, counted) differ: {wrong}")
    pinned = sum(len(node.segment.pages) for node in nodes if node.num_pins)
    total = sum(len(node.segment.pages) for node in nodes)
    if (pinned, total) != (tree.num_pinned_pages, tree.num_pages):
        held = f"{tree.num_pinned_pages} of {tree.num_pages} pages of the tree"
        raise CacheCorrupt(f"{held} count as pinned, and {pinned} of {total} are")


def _check_roots(tree: RadixTree, holdings: Sequence[Holding]) -> None:
    counted = Counter(holding.node.namespace for holding in holdings)
    for name, root in tree.roots.items():
        if root.num_pins != counted[name]:
            raise CacheCorrupt(f"the root of namespace {name!r} counts {root.num_pins} leases, and has {counted[name]}")
        if not (root.num_pins or root.children):
            raise CacheCorrupt(f"the root of namespace {name!r} holds nothing and stays")
