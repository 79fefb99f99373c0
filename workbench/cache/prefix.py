"""Prefix reuse as a lease: what a running request holds of the tree and of the pool, and how it gives it back.

A lease pins its path in the tree and owns private pages for the rest. Private pages become tree nodes in `commit`,
at the end of a prefill chunk and when the request finishes or is retracted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from workbench.cache.eviction import EvictionPolicy
from workbench.cache.pages import PagePool
from workbench.cache.radix import Match, Node, RadixTree, common_prefix, path_to
from workbench.errors import CacheCorrupt
from workbench.events import (
    NUM_SHOWN,
    CacheFlushed,
    EventLog,
    MatchReason,
    PagesReturned,
    PagesTaken,
    PathHeld,
    PathReleased,
    Taken,
)
from workbench.types import Segment

MAX_GHOSTS = 4096
MAX_COMPARED = 64
"""Stored continuations that an explanation looks at, the newest first: a root may have a million."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the cache knows of a prompt, and why it knows no more."""

    num_cached: int
    reason: MatchReason
    node_id: int = 0
    expected: tuple[int, ...] = ()
    evicted_ago: float | None = None
    elsewhere: int = 0


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
        """Reads only: the pages of all its tokens, in order."""
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
        self._ghosts: OrderedDict[tuple[str, int], float] = OrderedDict()

    @property
    def num_available_pages(self) -> int:
        """Free, or free after evicting all that no request uses."""
        return self.pool.num_free + self.tree.num_evictable_pages

    def match(self, token_ids: tuple[int, ...], namespace: str, limit: int) -> Match:
        """Reads only: how much of `token_ids[:limit]` need not be computed, and where it ends in the tree."""
        return self.tree.match(token_ids, namespace, 0 if self.disabled else limit)

    def lease(self, match: Match, rid: str) -> Lease:
        """Changes: pins the prefix that a current match found, splitting a node where it ends inside one."""
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
        """Changes: gives the lease pages for `num_tokens` tokens in all, evicting for it; False (and no change) if it cannot."""
        missing = -(-(num_tokens - lease.num_slots) // self.page_size)
        if missing <= 0:
            return True
        if missing > self.num_available_pages:
            return False
        self._evict(missing - self.pool.num_free, lease.rid)
        pages = self.pool.take(missing)
        lease.private += pages
        if self.log.on:
            self._taken.append(Taken(lease.rid, tuple(pages)))
        return True

    def tell_taken(self) -> None:
        """One event for all that leases took since the last call; before anything of it is given back."""
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
        """Changes: drops all that no request uses; the number of tokens dropped."""
        num_tokens = self._evict(self.tree.num_evictable_pages, "") * self.page_size
        self._ghosts.clear()
        if self.log.on:
            self.log.add(CacheFlushed(time=self.clock(), num_tokens=num_tokens))
        return num_tokens

    def explain(
        self, token_ids: tuple[int, ...], namespace: str = "", limit: int | None = None, hit: Match | None = None
    ) -> Lookup:
        """Reads only: what would be reused of this prompt now, and the reason why it is not more.

        The last token of a prompt is always computed, since its logits are wanted. `hit` is the current match, if it is known.
        """
        whole = len(token_ids) - 1
        limit = whole if limit is None else min(limit, whole)
        if self.disabled:
            return Lookup(0, "disabled")
        hit = hit or self.tree.match(token_ids, namespace, limit)
        done, page = hit.num_tokens, self.page_size
        found: dict[str, Any] = {"num_cached": done, "node_id": hit.node.id}
        if done == whole - whole % page:
            return Lookup(**found, reason="whole prompt")
        if limit < whole and self.tree.match(token_ids, namespace, whole, hit).num_tokens > done:
            return Lookup(**found, reason="scored")
        evicted = self._ghosts.get((namespace, hash(token_ids[: done + page])))
        if evicted is not None:
            return Lookup(**found, reason="evicted", evicted_ago=self.clock() - evicted)
        elsewhere = max(
            (self.tree.match(token_ids, other, limit).num_tokens for other in self.tree.roots if other != namespace), default=0
        )
        if elsewhere > done:
            return Lookup(**found, reason="other namespace", elsewhere=elsewhere)
        return self._divergence(hit, token_ids, found)

    def _divergence(self, hit: Match, token_ids: tuple[int, ...], found: dict[str, Any]) -> Lookup:
        rest = hit.node.token_ids[hit.num_in_node :]
        below = islice(reversed(hit.node.children.values()), MAX_COMPARED)
        stored = [rest] if rest else [child.token_ids for child in below]
        if not stored:
            return Lookup(**found, reason="nothing stored")
        prompt = token_ids[hit.num_tokens :]
        nearest = max(stored, key=lambda tokens: common_prefix(tokens, prompt))
        same = common_prefix(nearest, prompt)
        return Lookup(**found, reason="below page size" if same else "diverged", expected=nearest[same : same + NUM_SHOWN])

    def _log_held(self, lease: Lease, now: float, *, is_hit: bool = False) -> None:
        if self.log.on:
            self.log.add(
                PathHeld(time=now, rid=lease.rid, node_id=lease.node.id, namespace=lease.node.namespace,
                         num_tokens=lease.num_shared, is_hit=is_hit)
            )  # fmt: skip

    def _evict(self, num_pages: int, needed_by: str) -> int:
        """Changes: frees at least `num_pages` pages if it can, remembers what left; the number of pages freed."""
        freed = 0
        if num_pages <= 0:
            return freed
        for node, _ in self.tree.evict(num_pages, needed_by):
            self.pool.give(node.segment.pages)
            freed += len(node.segment.pages)
            assert node.parent is not None
            above = chain.from_iterable(step.token_ids for step in path_to(node.parent))
            self._ghosts[node.namespace, hash((*above, *node.token_ids[: self.page_size]))] = self.clock()
            if len(self._ghosts) > MAX_GHOSTS:
                self._ghosts.popitem(last=False)
        return freed

    def check(self) -> None:
        """Reads only: raises `CacheCorrupt` unless pages balance and pins equal the open leases on each path."""
        nodes = self.tree.nodes.values()
        owned = [page for node in nodes for page in node.segment.pages]
        owned += [page for lease in self.leases for page in lease.private]
        self.pool.check(owned)
        pins = dict.fromkeys(self.tree.nodes, 0)
        for lease in self.leases:
            for node in path_to(lease.node):
                pins[node.id] += 1
        wrong = {node.id: (node.num_pins, pins[node.id]) for node in nodes if node.num_pins != pins[node.id]}
        pinned = sum(len(node.segment.pages) for node in nodes if node.num_pins)
        total = sum(len(node.segment.pages) for node in nodes)
        misplaced = [node.id for node in nodes if (node.place is not None) != node.is_unused_leaf]
        if misplaced:
            raise CacheCorrupt(f"nodes {misplaced[:8]} are unused leaves or stand in the eviction queue, not both")
        if wrong or pinned != self.tree.num_pinned_pages or total != self.tree.num_pages:
            raise CacheCorrupt(
                f"node pins (held, counted) differ: {wrong}; pinned pages {self.tree.num_pinned_pages}, counted {pinned}"
            )
