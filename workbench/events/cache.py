"""Events of the prefix cache: pages, nodes of the radix tree, and the paths that requests hold."""

from __future__ import annotations

import msgspec

from workbench.events.base import Event, RequestEvent

MAX_USERS = 8
"""Number of requests that a node keeps as its users."""


class Taken(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The pages that one request took."""

    rid: str
    """Id of the request."""
    pages: tuple[int, ...]
    """Numbers of the pages."""


class PagesTaken(Event, frozen=True, kw_only=True, tag=True):
    """Pages left the pool for the requests of one plan, all of them in this event. `NodeAdded` gives them to the tree."""

    taken: tuple[Taken, ...]
    """The pages, by the request that took them."""

    @property
    def num_held(self) -> int:
        return sum(len(one.pages) for one in self.taken)


class PagesReturned(RequestEvent, frozen=True, kw_only=True, tag=True):
    """A request's own pages went back to the pool: another request had stored the same tokens, or it left the batch."""

    pages: tuple[int, ...]
    """Numbers of the pages."""

    @property
    def num_held(self) -> int:
        return len(self.pages)


class NodeAdded(Event, frozen=True, kw_only=True, tag=True):
    """The tree stored a segment. The fields with defaults differ from them only in a snapshot."""

    node_id: int
    """Number of the node."""
    parent_id: int
    """Number of the node above it; 0 is the root."""
    token_ids: tuple[int, ...]
    """The tokens on its edge."""
    pages: tuple[int, ...]
    """Numbers of the pages with their K/V."""
    namespace: str
    """Name of its radix tree."""
    rid: str
    """Id of the request that computed it."""
    num_hits: int = 0
    """Number of admissions that used it again."""
    used_at: float | None = None
    """Time of its last use; None if it was made just now."""
    used_by: tuple[str, ...] = ()
    """The last requests that reused it, the newest last."""

    @property
    def num_held(self) -> int:
        return len(self.token_ids) + len(self.pages)


class NodeSplit(Event, frozen=True, kw_only=True, tag=True):
    """A node was split: `node_id` keeps its last tokens, a new node `head_id` above it takes the first `num_head`."""

    node_id: int
    """Number of the lower node."""
    head_id: int
    """Number of the new node above it."""
    num_head: int
    """Number of tokens that the new node takes."""


class NodeEvicted(Event, frozen=True, kw_only=True, tag=True):
    """A node left the tree and its pages are free."""

    node_id: int
    """Number of the node."""
    num_tokens: int
    """Number of tokens on its edge."""
    score: float
    """The eviction policy's key; the node with the smallest leaves first."""
    needed_by: str
    """The request that got the space; empty for a flush."""


class PathHeld(RequestEvent, frozen=True, kw_only=True, tag=True):
    """A request holds the path from the root to this node (0 is the root): no node on it can be evicted.

    It replaces the path that the request held before.
    """

    node_id: int
    """Number of the last node of the path."""
    namespace: str
    """Name of its radix tree."""
    num_tokens: int
    """The number of tokens from the root to the end of the node."""
    is_hit: bool = False
    """True if admission found the path in the cache, which counts as a use of each of its nodes."""


class PathReleased(RequestEvent, frozen=True, kw_only=True, tag=True):
    """A request holds no path any more."""


class CacheFlushed(Event, frozen=True, kw_only=True, tag=True):
    """Every node without a user left the tree."""

    num_tokens: int
    """Number of tokens that were dropped."""
