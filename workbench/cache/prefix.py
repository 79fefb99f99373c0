"""Prefix reuse as a lease: the hold of a running request on the tree and on the pool.

A lease pins its path in the tree and owns private pages for the rest. Private pages become tree nodes in `commit`,
at the end of a prefill chunk and when the request finishes or is retracted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from workbench.cache.account import Holding, check_account
from workbench.cache.eviction import EvictionPolicy
from workbench.cache.lookup import EvictedPrefixes, Lookup, look_up
from workbench.cache.pages import PagePool
from workbench.cache.radix import Match, Node, RadixTree, path_to
from workbench.events import (
    CacheFlushed,
    EventLog,
    PagesReturned,
    PagesTaken,
    PathHeld,
    PathReleased,
    Taken,
)
from workbench.types import Segment


class Lease:
    """One request's hold on K/V. `num_shared` tokens are tree pages; `private` pages follow."""

    def __init__(self, cache: PrefixCache, rid: str, node: Node, num_shared: int) -> None:
        self.cache = cache
        self.rid = rid
        self.node = node
        self.num_shared = num_shared
        self.private: list[int] = []
        self.is_open = True
        self._path: tuple[Segment, ...] = ()
        self._path_of: tuple[int, int] = (-1, -1)

    @property
    def num_slots(self) -> int:
        return self.num_shared + len(self.private) * self.cache.page_size

    def segments(self) -> tuple[Segment, ...]:
        """Returns the pages of all its tokens, in order. Reads only."""
        version = (self.node.id, self.cache.tree.num_splits)
        if version != self._path_of:
            self._path = tuple(node.segment for node in path_to(self.node))
            self._path_of = version
        return (*self._path, Segment(0, tuple(self.private))) if self.private else self._path

    def release(self) -> None:
        """Changes: private pages return to the pool, the path may be evicted. May be called twice."""
        if self.is_open:
            self.is_open = False
            self.cache.take_back(self.rid, self.private)
            self.private = []
            now = self.cache.clock()
            self.cache.tree.unpin(self.node, now)
            self.cache.leases.discard(self)
            if self.cache.log.on:
                self.cache.log.add(PathReleased(time=now, rid=self.rid))

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class PrefixCache:
    def __init__(
        self,
        num_pages: int,
        page_size: int,
        evict_key: EvictionPolicy,
        log: EventLog,
        clock: Callable[[], float],
        disabled: bool = False,
    ) -> None:
        self.page_size = page_size
        self.disabled = disabled
        self.log = log
        self.clock = clock
        self.pool = PagePool(num_pages)
        self.tree = RadixTree(page_size, evict_key, log, clock)
        self.leases: set[Lease] = set()
        self._taken: list[Taken] = []
        """Since the last `tell_taken`."""
        self._evicted = EvictedPrefixes(page_size, clock)

    # -- the account, in pages ----------------------------------------------------------------------------------

    @property
    def num_pages(self) -> int:
        """All pages: free + tree + owned."""
        return self.pool.num_pages

    @property
    def num_free_pages(self) -> int:
        """Pages that hold nothing."""
        return self.pool.num_free

    @property
    def num_nodes(self) -> int:
        """Nodes of the tree."""
        return len(self.tree.nodes)

    @property
    def num_tree_pages(self) -> int:
        """Pages of tree nodes."""
        return self.tree.num_pages

    @property
    def num_owned_pages(self) -> int:
        """Private pages of running requests."""
        return self.pool.num_pages - self.pool.num_free - self.tree.num_pages

    @property
    def num_evictable_pages(self) -> int:
        """Tree pages that no request uses."""
        return self.tree.num_evictable_pages

    @property
    def num_available_pages(self) -> int:
        """Pages that are free, or would be after evicting all that no request uses."""
        return self.pool.num_free + self.tree.num_evictable_pages

    def num_pages_for(self, num_tokens: int) -> int:
        """Returns the number of pages that so many tokens need."""
        return -(-num_tokens // self.page_size) if num_tokens > 0 else 0

    @property
    def evict_key(self) -> EvictionPolicy:
        """The eviction policy; it may be set at any time."""
        return self.tree.evict_key

    @evict_key.setter
    def evict_key(self, policy: EvictionPolicy) -> None:
        self.tree.evict_key = policy

    def nodes(self) -> Iterator[Node]:
        """Yields all nodes of the tree, parents before children. Reads only."""
        queue = deque(child for root in self.tree.roots.values() for child in root.children.values())
        while queue:
            node = queue.popleft()
            yield node
            queue.extend(node.children.values())

    # -- look-ups and leases ------------------------------------------------------------------------------------

    def match(self, token_ids: tuple[int, ...], namespace: str, limit: int) -> Match:
        """Returns how much of `token_ids[:limit]` need not be computed, and where it ends in the tree. Reads only."""
        return self.tree.match(token_ids, namespace, 0 if self.disabled else limit)

    def is_current(self, match: Match) -> bool:
        """Returns whether `match` would find the same again. Reads only."""
        return self.tree.is_current(match)

    def num_pages_pinned_by(self, match: Match) -> int:
        """Returns how many pages could be evicted now and no longer once a lease holds this match. Reads only."""
        if not match.num_tokens:
            return 0
        num_tokens, node = 0, match.node
        while node.parent is not None and node.num_pins == 0:
            num_tokens += match.num_in_node if node is match.node else len(node.token_ids)
            node = node.parent
        return self.num_pages_for(num_tokens)

    def lease(self, match: Match, rid: str) -> Lease:
        """Changes: pins the prefix that a current match found, splitting a node if it ends inside one. Returns the hold on it."""
        assert self.tree.is_current(match) or not match.num_tokens
        node = self.tree.fork_at(match) if match.num_tokens else self.tree.root(match.node.namespace)
        now = self.clock()
        self.tree.pin(node)
        self.tree.touch(node, rid, now)
        lease = Lease(self, rid, node, match.num_tokens)
        self.leases.add(lease)
        self._log_held(lease, now, is_hit=True)
        return lease

    def grow(self, lease: Lease, num_tokens: int) -> bool:
        """Changes: gives the lease pages for `num_tokens` tokens in all, evicting for it. Returns False, with no change, if it
        cannot."""
        missing = self.num_pages_for(num_tokens - lease.num_slots)
        if not missing:
            return True
        if missing > self.num_available_pages:
            return False
        self._evict(missing - self.pool.num_free, lease.rid)
        pages = self.pool.take(missing)
        lease.private += pages
        if self.log.on:
            self._taken.append(Taken(lease.rid, tuple(pages)))
        return True

    def trim(self, lease: Lease, num_tokens: int) -> None:
        """Changes: private pages behind the first `num_tokens` tokens go back to the pool."""
        num_kept = self.num_pages_for(num_tokens - lease.num_shared)
        if num_kept < len(lease.private):
            lease.private, spare = lease.private[:num_kept], lease.private[num_kept:]
            self.take_back(lease.rid, spare)

    def tell_taken(self) -> None:
        """Logs one event for all pages that leases took since the last call. Call it before any of them is given back."""
        if self._taken:
            self.log.add(PagesTaken(time=self.clock(), taken=tuple(self._taken)))
            self._taken.clear()

    def take_back(self, rid: str, pages: list[int]) -> None:
        """Changes: pages that `rid` owned are free."""
        self.pool.give(pages)
        if pages and self.log.on:
            self.log.add(PagesReturned(time=self.clock(), rid=rid, pages=tuple(pages)))

    def commit(self, lease: Lease, token_ids: tuple[int, ...]) -> None:
        """Changes: the K/V of `token_ids` (all tokens computed so far) becomes shared, in whole pages.

        Where another request stored the same tokens meanwhile, its pages are used and ours go back to the pool.
        """
        end = len(token_ids) - len(token_ids) % self.page_size
        if self.disabled or end <= lease.num_shared:
            return
        start = Match(lease.node, len(lease.node.token_ids), lease.num_shared, lease.node.version)
        hit = self.tree.match(token_ids, lease.node.namespace, end, start)
        node = self.tree.fork_at(hit)
        num_same = (hit.num_tokens - lease.num_shared) // self.page_size
        num_new = (end - hit.num_tokens) // self.page_size
        same, new, rest = (
            lease.private[:num_same],
            lease.private[num_same : num_same + num_new],
            lease.private[num_same + num_new :],
        )
        if num_new:
            node = self.tree.insert(node, token_ids[hit.num_tokens : end], new, lease.rid)
        self.take_back(lease.rid, same)
        now = self.clock()
        self.tree.pin(node)
        self.tree.unpin(lease.node, now)
        lease.node, lease.num_shared, lease.private = node, end, rest
        self._log_held(lease, now)

    def flush(self) -> int:
        """Changes: drops all that no request uses. Returns the number of tokens dropped."""
        num_pages = sum(self._free(node) for node, _ in self.tree.evict(self.tree.num_evictable_pages, ""))
        num_tokens = num_pages * self.page_size
        self._evicted.clear()  # a look-up is to find that nothing is stored, and not that it was evicted
        if self.log.on:
            self.log.add(CacheFlushed(time=self.clock(), num_tokens=num_tokens))
        return num_tokens

    def explain(
        self, token_ids: tuple[int, ...], namespace: str = "", limit: int | None = None, hit: Match | None = None
    ) -> Lookup:
        """Returns what would be reused of this prompt now, and why it is not more. Reads only.

        The last token of a prompt is always computed, since its logits are wanted. `limit` caps the tokens that may be reused,
        `hit` is the current match within it, if it is known.
        """
        whole = len(token_ids) - 1
        limit = whole if limit is None else min(limit, whole)
        if self.disabled:
            return Lookup(0, "disabled")
        hit = hit or self.tree.match(token_ids, namespace, limit)
        return look_up(self.tree, self._evicted, token_ids, limit, hit)

    def _log_held(self, lease: Lease, now: float, *, is_hit: bool = False) -> None:
        if self.log.on:
            self.log.add(
                PathHeld(time=now, rid=lease.rid, node_id=lease.node.id, namespace=lease.node.namespace,
                         num_tokens=lease.num_shared, is_hit=is_hit)
            )  # fmt: skip

    def _evict(self, num_pages: int, needed_by: str) -> None:
        """Changes: frees at least `num_pages` pages if it can."""
        for node, _ in self.tree.evict(num_pages, needed_by):
            self._free(node)
            self._evicted.add(node)

    def _free(self, node: Node) -> int:
        """Changes: the pages of a node that left the tree are free. Returns their number."""
        self.pool.give(node.segment.pages)
        return len(node.segment.pages)

    def check(self) -> None:
        """Raises `CacheCorrupt` unless pages balance and pins equal the open leases on each path. Reads only."""
        check_account(self.pool, self.tree, [Holding(lease.node, lease.private) for lease in self.leases])
