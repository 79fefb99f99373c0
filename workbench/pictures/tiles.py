"""Arithmetic of pictures that are cut into tiles of one size: the resolution taken, and what remains without the padding."""

from __future__ import annotations

import math
from collections.abc import Sequence

Size = tuple[int, int]
"""(height, width), in pixels or in patches."""


def best_resolution(size: Size, offered: Sequence[Sequence[int]]) -> Size:
    """Returns the resolution, of those offered, that keeps most pixels of a picture, and of these the one that wastes least."""
    height, width = size

    def worth(one: Sequence[int]) -> tuple[int, int]:
        scale = min(one[1] / width, one[0] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, -(one[0] * one[1] - kept)

    rows, columns = max(offered, key=worth)
    return rows, columns


def without_padding(size: Size, whole: Size) -> tuple[slice, slice]:
    """Returns the rows and columns of a grid of patches, `whole`, that show a picture of `size` pixels, fitted into it."""
    (height, width), (rows, columns) = size, whole
    if width / height > columns / rows:
        padding = (rows - int(round(height * (columns / width), 7))) // 2
        return slice(padding, rows - padding), slice(0, columns)
    padding = (columns - int(round(width * (rows / height), 7))) // 2
    return slice(0, rows), slice(padding, columns - padding)


def shrunk(kept: Size, side: int, aspect: str | None) -> Size:
    """Returns the size to which a grid of patches is shrunk where it has many more than so many tiles of side * side patches as
    `aspect`, "anyres_max_N", names; None shrinks nothing."""
    if aspect is None:
        return kept
    ratio = math.sqrt(kept[0] * kept[1] / (int(aspect.removeprefix("anyres_max_")) * side**2))
    return kept if ratio <= 1.1 else (int(kept[0] // ratio), int(kept[1] // ratio))
