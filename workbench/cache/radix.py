"""The radix tree: the token prefixes that have K/V, and their pages.

One root per namespace. An edge is a run of whole pages of tokens; two children of a node differ in their first page.
Questions (`match`, `is_current`) never change the tree; `fork_at`, `insert`, `touch`, `pin`, `unpin` and `evict` do.
What a change costs does not grow with the tree: a path is walked, and one place in the eviction queue changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from workbench.cache.eviction import EvictionPolicy, EvictionQueue, Place
from workbench.common_prefix import num_common
from workbench.events import MAX_USERS, EventLog, NodeAdded, NodeEvicted, NodeSplit
from workbench.types import Segment

Tokens = Sequence[int]


class Node:
    """One edge of the tree with the pages of its tokens. `num_pins` counts the leases whose path runs through it.

    The root of a namespace is a node without tokens, and every path runs through it.
    """

    __slots__ = (
        "children", "created", "id", "last_used", "made_at", "made_by", "namespace", "num_hits", "num_pins", "parent", "place",
        "segment", "token_ids", "used_at", "used_by", "version",
    )  # fmt: skip

    def __init__(
        self, id: int, parent: Node | None, token_ids: tuple[int, ...], pages: tuple[int, ...], namespace: str, tick: int
    ) -> None:
        self.id = id
        self.parent = parent
        self.token_ids = token_ids
        self.segment = Segment(id, pages)
        self.namespace = namespace
        self.children: dict[tuple[int, ...], Node] = {}
        self.num_pins = 0
        self.num_hits = 0
        self.created = tick
        self.last_used = tick
        self.made_by = ""
        self.made_at = self.used_at = 0.0
        """On the engine's clock, for views; policies go by the ticks, of which no two are equal."""
        self.used_by: tuple[str, ...] = ()
        self.place: Place | None = None
        """Its place in the eviction queue while it is an unused leaf."""
        self.version = 0
        """Rises with every change that can move the end of a match that ends here."""

    @property
    def is_unused_leaf(self) -> bool:
        """True if it may be evicted."""
        return not self.children and self.num_pins == 0 and self.parent is not None

    @property
    def depth(self) -> int:
        """Tokens from the root to the end of this node."""
        return sum(len(node.token_ids) for node in path_to(self))


@dataclass(frozen=True, slots=True)
class Match:
    """The end of a token sequence in the tree: `num_tokens` are there (whole pages), the last `num_in_node` of them in `node`."""

    node: Node
    num_in_node: int
    num_tokens: int
    version: int
    """The node's, when this was found."""


def path_to(node: Node) -> list[Node]:
    """Returns the nodes from below the root down to `node`. Reads only."""
    path: list[Node] = []
    while node.parent is not None:
        path.append(node)
        node = node.parent
    return path[::-1]


class RadixTree:
    def __init__(self, page_size: int, evict_key: EvictionPolicy, log: EventLog, clock: Callable[[], float]) -> None:
        self.page_size = page_size
        self._evictable = EvictionQueue(evict_key)
        self.log = log
        self.clock = clock
        self.roots: dict[str, Node] = {}
        self.nodes: dict[int, Node] = {}
        self.num_pages = 0
        self.num_pinned_pages = 0
        self.num_splits = 0
        """Number of splits so far. A cached path is valid only while this is unchanged."""
        self._tick = 0
        self._last_id = 0

    @property
    def evict_key(self) -> EvictionPolicy:
        """The eviction policy; it may be set at any time, which computes all keys again."""
        return self._evictable.policy

    @evict_key.setter
    def evict_key(self, policy: EvictionPolicy) -> None:
        self._evictable = EvictionQueue(policy, self.nodes.values())

    @property
    def num_evictable_pages(self) -> int:
        return self.num_pages - self.num_pinned_pages

    def root(self, namespace: str) -> Node:
        """Returns the root of a namespace. Changes: makes it if there is none."""
        if namespace not in self.roots:
            self.roots[namespace] = Node(0, None, (), (), namespace, self._next_tick())
        return self.roots[namespace]

    def match(self, token_ids: tuple[int, ...], namespace: str, limit: int | None = None, start: Match | None = None) -> Match:
        """Returns the longest stored prefix of `token_ids[:limit]` in whole pages. Reads only: no split, no clock.

        `start` is a match of the same tokens to go on from.
        """
        page = self.page_size
        end = len(token_ids) if limit is None else min(limit, len(token_ids))
        end -= end % page
        if start is None:
            root = self.roots.get(namespace)
            if root is None:
                return Match(Node(0, None, (), (), namespace, 0), 0, 0, 0)
            start = Match(root, 0, 0, 0)
        node, in_node, done = start.node, start.num_in_node, start.num_tokens
        if in_node < len(node.token_ids) and node.parent is not None:  # a shorter limit may have ended it there
            node, done = node.parent, done - in_node
            in_node = len(node.token_ids)
        while done < end and in_node == len(node.token_ids):
            child = node.children.get(token_ids[done : done + page])
            if child is None:
                break
            same = num_common(child.token_ids, token_ids[done:end])
            node, in_node = child, same - same % page
            done += in_node
        return Match(node, in_node, done, node.version)

    def is_current(self, match: Match) -> bool:
        """Returns whether `match` would find the same again. Changes elsewhere in the tree leave a match as it is. Reads only."""
        node = match.node
        return node.version == match.version and (node.parent is not None or self.roots.get(node.namespace) is node)

    def fork_at(self, match: Match) -> Node:
        """Returns the node that ends where the match ends. Changes: splits a node if that is inside it."""
        node, head_len = match.node, match.num_in_node
        if head_len == len(node.token_ids):
            return node
        parent = node.parent
        assert parent is not None
        assert head_len > 0
        pages = node.segment.pages
        num_head = head_len // self.page_size
        head = Node(self._next_id(), parent, node.token_ids[:head_len], pages[:num_head], node.namespace, node.created)
        for name in ("num_pins", "num_hits", "last_used", "made_by", "made_at", "used_at", "used_by"):
            setattr(head, name, getattr(node, name))
        parent.children[head.token_ids[: self.page_size]] = head
        node.parent, node.token_ids = head, node.token_ids[head_len:]
        node.segment = Segment(node.id, pages[num_head:])
        head.children[node.token_ids[: self.page_size]] = node
        self.nodes[head.id] = head
        self.num_splits += 1
        node.version += 1
        self._evictable.update(node)
        if self.log.on:
            self.log.add(NodeSplit(time=self.clock(), node_id=node.id, head_id=head.id, num_head=head_len))
        return head

    def insert(self, parent: Node, token_ids: tuple[int, ...], pages: Sequence[int], rid: str) -> Node:
        """Changes: adds a leaf below `parent`, which has no child with this first page. Whole pages only."""
        assert len(token_ids) == len(pages) * self.page_size > 0
        assert token_ids[: self.page_size] not in parent.children
        node = Node(self._next_id(), parent, token_ids, tuple(pages), parent.namespace, self._next_tick())
        parent.children[token_ids[: self.page_size]] = node
        self.nodes[node.id] = node
        self.num_pages += len(pages)
        parent.version += 1
        node.made_by, node.made_at = rid, self.clock()
        node.used_at = node.made_at
        self._evictable.update(parent)
        self._evictable.update(node)
        if self.log.on:
            self.log.add(
                NodeAdded(time=node.made_at, node_id=node.id, parent_id=parent.id, token_ids=token_ids,
                          pages=node.segment.pages, namespace=node.namespace, rid=rid)
            )  # fmt: skip
        return node

    def touch(self, node: Node, rid: str, now: float) -> None:
        """Changes: counts a use of every node on the path."""
        tick = self._next_tick()
        for step in path_to(node):
            step.last_used = tick
            step.num_hits += 1
            step.used_at = now
            step.used_by = (*step.used_by[1 - MAX_USERS :], rid)
        self._evictable.update(node)

    def pin(self, node: Node) -> None:
        """Changes: nothing on the path to `node` can be evicted until `unpin`."""
        self._root_of(node).num_pins += 1
        for step in path_to(node):
            if step.num_pins == 0:
                self.num_pinned_pages += len(step.segment.pages)
            step.num_pins += 1
        self._evictable.update(node)

    def unpin(self, node: Node, now: float) -> None:
        """Changes: takes back one `pin`; the whole path counts as used now."""
        tick = self._next_tick()
        for step in path_to(node):
            step.num_pins -= 1
            step.last_used = tick
            step.used_at = now
            assert step.num_pins >= 0, step.id
            if step.num_pins == 0:
                self.num_pinned_pages -= len(step.segment.pages)
        self._evictable.update(node)
        root = self._root_of(node)
        root.num_pins -= 1
        self._drop_if_empty(root)

    def evict(self, num_pages: int, needed_by: str) -> Iterator[tuple[Node, float]]:
        """Changes: unused leaves leave, smallest key first, until at least `num_pages` pages are free of them.

        Yields each node already cut off, with the key it was chosen by.
        """
        while num_pages > 0 and (first := self._evictable.pop()) is not None:
            node, key = first
            parent = node.parent
            assert parent is not None
            del parent.children[node.token_ids[: self.page_size]]
            del self.nodes[node.id]
            node.version += 1
            self.num_pages -= len(node.segment.pages)
            num_pages -= len(node.segment.pages)
            self._evictable.update(parent)
            self._drop_if_empty(parent)
            if self.log.on:
                self.log.add(
                    NodeEvicted(
                        time=self.clock(), node_id=node.id, num_tokens=len(node.token_ids), score=key, needed_by=needed_by
                    )
                )
            yield node, key

    def _root_of(self, node: Node) -> Node:
        return self.roots[node.namespace]

    def _drop_if_empty(self, node: Node) -> None:
        """Changes: a root without nodes and leases leaves. Prompts of embeddings have one each, so they would pile up."""
        if node.parent is None and not node.children and node.num_pins == 0:
            del self.roots[node.namespace]

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _next_tick(self) -> int:
        self._tick += 1
        return self._tick
