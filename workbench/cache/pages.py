"""The page account: plain numbers, no tensors. A page is `page_size` neighbouring KV slots."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable

from workbench.errors import CacheCorrupt


class PagePool:
    """Pages without an owner. The lowest numbers leave first: that keeps runs contiguous and touched memory small."""

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self._free = list(range(num_pages))  # ascending, so already a heap

    @property
    def num_free(self) -> int:
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """Changes: `count` pages leave the pool. Returns them, ascending. The caller has checked `num_free`."""
        assert count <= len(self._free), (count, len(self._free))
        return [heapq.heappop(self._free) for _ in range(count)]

    def give(self, pages: Iterable[int]) -> None:
        """Changes: pages come back."""
        for page in pages:
            heapq.heappush(self._free, page)

    def check(self, owned: Iterable[int]) -> None:
        """Raises `CacheCorrupt`, with the pages, unless every page is free or among `owned`, exactly once. Reads only."""
        owners = Counter(self._free)
        owners.update(owned)
        wrong = {page: count for page, count in owners.items() if count != 1}
        if wrong or len(owners) != self.num_pages:
            raise CacheCorrupt(
                f"{len(owners)} of {self.num_pages} pages accounted for, owned other than once: {dict(list(wrong.items())[:8])}"
            )
