"""Explains a look-up: how much of a prompt the tree holds, and the reason why it holds no more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from workbench.cache.radix import Match, Node, RadixTree, path_to
from workbench.common_prefix import num_common
from workbench.events import NUM_SHOWN, MatchReason
from workbench.types import first_of

MAX_EVICTED = 4096
MAX_COMPARED = 64
"""Stored continuations, and namespaces, that an explanation compares, the newest first: there may be a million."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """The part of a prompt that the cache holds, and the reason why it holds no more."""

    num_cached: int
    reason: MatchReason
    node_id: int = 0
    expected: tuple[int, ...] = ()
    """For "diverged" and "below page size": the stored tokens in place of the prompt's."""
    evicted_ago: float | None = None
    """For "evicted": seconds since the next page of the prompt left."""
    elsewhere: int = 0
    """For "other namespace": the number of tokens that match there."""


class EvictedPrefixes:
    """The prefixes that left the tree last, with their times; bounded, and without their tokens."""

    def __init__(self, page_size: int, clock: Callable[[], float]) -> None:
        self._page_size = page_size
        self._clock = clock
        self._times: OrderedDict[tuple[str, int], float] = OrderedDict()

    def add(self, node: Node) -> None:
        """Changes: the first page of this node, behind its path, has left."""
        assert node.parent is not None
        above = chain.from_iterable(step.token_ids for step in path_to(node.parent))
        self._times[node.namespace, hash((*above, *node.token_ids[: self._page_size]))] = self._clock()
        if len(self._times) > MAX_EVICTED:
            self._times.popitem(last=False)

    def seconds_ago(self, token_ids: tuple[int, ...], namespace: str) -> float | None:
        """Returns the seconds since the last page of these tokens left; None if that is not known. Reads only."""
        evicted = self._times.get((namespace, hash(token_ids)))
        return None if evicted is None else self._clock() - evicted

    def clear(self) -> None:
        self._times.clear()


def look_up(tree: RadixTree, evicted: EvictedPrefixes, token_ids: tuple[int, ...], limit: int, hit: Match) -> Lookup:
    """Returns what `hit`, the match of `token_ids[:limit]`, leaves to explain. Reads only."""
    whole, done, page, namespace = len(token_ids) - 1, hit.num_tokens, tree.page_size, hit.node.namespace
    found: dict[str, Any] = {"num_cached": done, "node_id": hit.node.id}
    if done == whole - whole % page:
        return Lookup(**found, reason="whole prompt")
    if limit < whole and tree.match(token_ids, namespace, whole, hit).num_tokens > done:
        return Lookup(**found, reason="scored")
    if (ago := evicted.seconds_ago(token_ids[: done + page], namespace)) is not None:
        return Lookup(**found, reason="evicted", evicted_ago=ago)
    newest = islice(reversed(tree.roots), MAX_COMPARED)
    others = (tree.match(token_ids, other, limit).num_tokens for other in newest if other != namespace)
    if (elsewhere := max(others, default=0)) > done:
        return Lookup(**found, reason="other namespace", elsewhere=elsewhere)
    rest, prompt = hit.node.token_ids[hit.num_in_node :], token_ids[done:]
    below = islice(reversed(hit.node.children.values()), MAX_COMPARED)
    stored = [rest] if rest else [child.token_ids for child in below]
    if not stored:
        return Lookup(**found, reason="nothing stored")
    nearest = max(stored, key=lambda tokens: num_common(tokens, prompt))
    same = num_common(nearest, prompt)
    return Lookup(**found, reason="below page size" if same else "diverged", expected=first_of(nearest[same:], NUM_SHOWN))
