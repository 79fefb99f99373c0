"""The page account: plain numbers, no tensors. A page is `page_size` neighbouring KV slots."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable

from workbench.errors import CacheCorrupt


class PagePool:
    """Pages without an owner. The lowest numbers leave first: that keeps runs contiguous and touched memory small.

    Its memory grows with the pages that were taken, not with all that there are.
    """

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self._num_touched = 0
        """Pages from here on were never taken."""
        self._returned: list[int] = []
        """A heap of the pages that came back, all of them below."""

    @property
    def num_free(self) -> int:
        return len(self._returned) + self.num_pages - self._num_touched

    def take(self, count: int) -> list[int]:
        """Changes: `count` pages leave the pool. Returns them, ascending. The caller has checked `num_free`."""
        assert count <= self.num_free, (count, self.num_free)
        pages = [heapq.heappop(self._returned) for _ in range(min(count, len(self._returned)))]
        first, self._num_touched = self._num_touched, self._num_touched + count - len(pages)
        return [*pages, *range(first, self._num_touched)]

    def give(self, pages: Iterable[int]) -> None:
        """Changes: pages come back."""
        for page in pages:
            heapq.heappush(self._returned, page)

    def check(self, owned: Iterable[int]) -> None:
        """Raises `CacheCorrupt`, with the pages, unless every page is free or among `owned`, exactly once. Reads only."""
        owners = Counter(self._returned)
        owners.update(owned)
        num_known = len(owners) + self.num_pages - self._num_touched
        wrong = {page: count for page, count in owners.items() if count != 1 or page >= self._num_touched}
        if wrong or num_known != self.num_pages:
            raise CacheCorrupt(
                f"{num_known} of {self.num_pages} pages accounted for, owned other than once: {dict(list(wrong.items())[:8])}"
            )
