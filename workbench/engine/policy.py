"""Schedule policies: a function that puts the waiting requests into the order in which they are offered a place.

A policy sees candidates and returns them sorted; it changes nothing. Higher priority always goes first, so the
scheduler sorts by priority afterwards (its sort is stable). Adding a policy is one function and one entry here.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from workbench.cache.prefix import PrefixCache
from workbench.cache.radix import Match, path_to
from workbench.engine.sequence import Sequence

LPM_QUEUE_LIMIT = 128
"""Matching every waiting prompt costs time: longer queues fall back to arrival order, as the reference does."""


class Candidate:
    """A waiting request as a policy sees it. Its prompt is looked up when asked for, and again when that answer is outdated."""

    def __init__(self, seq: Sequence, cache: PrefixCache) -> None:
        self.seq = seq
        self._cache = cache
        self._match: Match | None = None

    @property
    def match(self) -> Match:
        """The part of its tokens that the tree holds now."""
        if self._match is None or not self._cache.is_current(self._match):
            self._match = self._cache.match(self.seq.key, self.seq.request.namespace, self.seq.reuse_limit)
        return self._match

    @property
    def num_cached(self) -> int:
        return self.match.num_tokens

    @property
    def path(self) -> tuple[int, ...]:
        """Ids of the tree nodes its cached prefix runs through, from the root."""
        return tuple(node.id for node in path_to(self.match.node))


Policy = Callable[[list[Candidate], random.Random], list[Candidate]]


def fcfs(waiting: list[Candidate], rng: random.Random) -> list[Candidate]:
    """Keeps the order of arrival: first come, first served."""
    return waiting


def lpm(waiting: list[Candidate], rng: random.Random) -> list[Candidate]:
    """Puts the longest prefix match first: what the cache holds now is used before it is evicted."""
    return waiting if len(waiting) > LPM_QUEUE_LIMIT else sorted(waiting, key=lambda c: -c.num_cached)


def lof(waiting: list[Candidate], rng: random.Random) -> list[Candidate]:
    """Puts the longest output first: long ones overlap with the short ones that follow."""
    return sorted(waiting, key=lambda c: -c.seq.num_left)


def shuffled(waiting: list[Candidate], rng: random.Random) -> list[Candidate]:
    """Shuffles (seeded with the engine)."""
    return rng.sample(waiting, len(waiting))


def dfs_weight(waiting: list[Candidate], rng: random.Random) -> list[Candidate]:
    """Goes depth first through the tree, into the branch with most waiting requests first."""
    weight = Counter(node for candidate in waiting for node in candidate.path)
    return sorted(waiting, key=lambda c: [(-weight[node], node) for node in c.path] or [(1, 0)])


POLICIES: dict[str, Policy] = {"lpm": lpm, "fcfs": fcfs, "dfs-weight": dfs_weight, "lof": lof, "random": shuffled}
