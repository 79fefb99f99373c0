"""Events of the prefix cache: pages, nodes of the radix tree, and the paths that requests hold."""

from __future__ import annotations

import msgspec

from workbench.events.base import Event

MAX_USERS = 8
"""Number of requests that a node keeps as its users."""


class Taken(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The pages that one request took."""

    rid: str
    pages: tuple[int, ...]


class PagesTaken(Event, frozen=True, kw_only=True, tag=True):
    """Pages left the pool for the requests of one plan, all of them in this event. `NodeAdded` gives them to the tree."""

    taken: tuple[Taken, ...]


class PagesReturned(Event, frozen=True, kw_only=True, tag=True):
    """A request's own pages went back to the pool: another request had stored the same tokens, or it left the batch."""

    rid: str
    pages: tuple[int, ...]


class NodeAdded(Event, frozen=True, kw_only=True, tag=True):
    """The tree stored a segment. The fields with defaults differ from them only in a snapshot."""

    node_id: int
    parent_id: int
    token_ids: tuple[int, ...]
    pages: tuple[int, ...]
    namespace: str
    rid: str
    num_hits: int = 0
    used_at: float | None = None
    used_by: tuple[str, ...] = ()
    """The last requests that reused it, the newest last."""


class NodeSplit(Event, frozen=True, kw_only=True, tag=True):
    """A node was split: `node_id` keeps its last tokens, a new node `head_id` above it takes the first `num_head`."""

    node_id: int
    head_id: int
    num_head: int


class NodeEvicted(Event, frozen=True, kw_only=True, tag=True):
    """A node left the tree and its pages are free."""

    node_id: int
    num_tokens: int
    score: float
    """The eviction policy's key; the node with the smallest leaves first."""
    needed_by: str
    """The request that got the space; empty for a flush."""


class PathHeld(Event, frozen=True, kw_only=True, tag=True):
    """A request holds the path from the root to this node (0 is the root): no node on it can be evicted.

    It replaces the path that the request held before.
    """

    rid: str
    node_id: int
    namespace: str
    num_tokens: int
    """The number of tokens from the root to the end of the node."""
    is_hit: bool = False
    """True if admission found the path in the cache, which counts as a use of each of its nodes."""


class PathReleased(Event, frozen=True, kw_only=True, tag=True):
    """A request holds no path any more."""

    rid: str


class CacheFlushed(Event, frozen=True, kw_only=True, tag=True):
    """Every node without a user left the tree."""

    num_tokens: int
