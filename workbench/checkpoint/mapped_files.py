"""Keeps files that are mapped while a model is read from counting as its memory: what was read leaves the process."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from torch import Tensor

MOST_BYTES = 256 << 20
"""Bytes that are read before the pages are let go."""
MADV_DONTNEED = 4


class MappedFiles:
    """The mappings of some files. Their pages stay in the system's cache, and are mapped again where they are used."""

    def __init__(self) -> None:
        self._ranges: dict[Path, tuple[int, int] | None] = {}
        """File -> the first address of its mapping, and its bytes; None where it is not mapped."""
        self._num_bytes = 0

    def note(self, file: Path, tensor: Tensor) -> None:
        """Counts a tensor of a file that was read. Changes: lets the pages of all files go when they are many."""
        if file not in self._ranges:
            self._ranges[file] = _mapping(file, tensor.data_ptr())
        self._num_bytes += tensor.nbytes
        if self._num_bytes > MOST_BYTES:
            self.let_go()

    def let_go(self) -> None:
        """Changes: unmaps the pages that were used. Nothing writes to them, so they are the same when they are used again."""
        self._num_bytes = 0
        for found in self._ranges.values():
            if found is not None:
                ctypes.CDLL(None).madvise(ctypes.c_void_p(found[0]), ctypes.c_size_t(found[1]), MADV_DONTNEED)


def _mapping(file: Path, address: int) -> tuple[int, int] | None:
    """Returns the mapping of a file that holds an address; None where the memory there is no file's."""
    maps, path = Path("/proc/self/maps"), str(file.resolve())
    if sys.platform != "linux" or not maps.exists():
        return None
    for line in maps.read_text().splitlines():
        words = line.split(maxsplit=5)
        start, end = (int(word, 16) for word in words[0].split("-"))
        if start <= address < end:
            return (start, end - start) if len(words) == 6 and words[5] == path else None
    return None
