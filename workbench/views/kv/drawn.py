"""Drawn part of the KV map: runs of pages as short words, of which only those that changed are found again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain, groupby, starmap

from workbench.views.kv.state import KINDS, OwnedRun, Owner, PageRun, joined, kind_of

MIN_BLOCK = 32
"""Least pages in a block. The runs of a block are found again together when one of its pages changes hands."""
MAX_BLOCKS = 1024
MAX_RUNS = 1100
"""Most runs in a picture: above that, each block is drawn as one run."""


class Blocks:
    """The pages of a pool in blocks of equal `length`. `refresh` reads the owners in the `dirty` blocks."""

    def __init__(self, num_pages: int, word: Callable[[Owner | None, int], str]) -> None:
        self._num_pages, self._word = num_pages, word
        self.length = max(MIN_BLOCK, -(-num_pages // MAX_BLOCKS))
        self._runs: list[list[OwnedRun]] = []
        """Runs of each block."""
        self._words: list[str] = []
        """Each block's runs as words; "" until they are asked for."""
        self._mostly: list[str] = []
        """Each block as one word, as if all of it were of its most frequent kind; "" until it is asked for."""
        self._num_runs = 0
        self.dirty: set[int] = set()
        """Numbers of blocks to read again: page // `length` of each page whose owner changed."""

    def refresh(self, owner: Mapping[int, Owner], high: int) -> None:
        """Reads the owners of the pages in dirty blocks, and in new ones up to page `high`. Free pages have no owner."""
        num_new = -(-high // self.length) - len(self._runs)
        self.dirty.update(range(len(self._runs), len(self._runs) + num_new))
        self._runs += [[] for _ in range(num_new)]
        self._words += [""] * num_new
        self._mostly += [""] * num_new
        for block in self.dirty:
            start = block * self.length
            stop = min(start + self.length, max(self._num_pages, high))
            runs = [(owner, len(list(same))) for owner, same in groupby(map(owner.get, range(start, stop)))]
            self._num_runs += len(runs) - len(self._runs[block])
            self._runs[block], self._words[block], self._mostly[block] = runs, "", ""
        self.dirty.clear()

    def words(self) -> str:
        """Returns all pages as words, or where there are too many runs, one word a block: "length kind"."""
        if self._is_crowded:
            return " ".join(self._coarse())
        self._words = [words or self._in_words(block) for block, words in enumerate(self._words)]
        return " ".join(self._words)

    def runs(self) -> list[PageRun]:
        """Returns all pages as runs, neighbours of one owner together."""
        return joined((*kind_of(owner), length) for owner, length in chain.from_iterable(self._runs))

    def shown(self) -> list[PageRun]:
        """Returns the runs, or where these are too many to draw, blocks, each of its most frequent kind."""
        if not self._is_crowded:
            return self.runs()
        sizes = ((word[-1], int(word[:-1])) for word in self._coarse())
        return joined((KINDS[kind], "", length) for kind, length in sizes)

    @property
    def _is_crowded(self) -> bool:
        return self._num_runs > MAX_RUNS

    def _coarse(self) -> list[str]:
        self._mostly = [word or self._in_one_word(block) for block, word in enumerate(self._mostly)]
        return self._mostly

    def _in_words(self, block: int) -> str:
        return " ".join(starmap(self._word, self._runs[block]))

    def _in_one_word(self, block: int) -> str:
        lengths = dict.fromkeys(KINDS, 0)
        for owner, length in self._runs[block]:
            lengths[kind_of(owner)[0][0]] += length
        return f"{sum(lengths.values())}{max(lengths, key=lambda kind: lengths[kind])}"
