"""Arithmetic of pictures that are cut into slices of about one area and any shape, as MiniCPM-V has them."""

from __future__ import annotations

import math

Size = tuple[int, int]
"""(width, height), in pixels."""


def sliced_into(size: Size, most: int, side: int) -> tuple[int, int] | None:
    """Returns (columns, rows) of at most `most` slices of about side * side pixels, as near as may be to the picture's shape.

    None is for a picture that is no larger than one.
    """
    width, height = size
    wanted = min(math.ceil(width * height / side**2), most)
    if wanted <= 1:
        return None
    counts = [count for count in (wanted - 1, wanted, wanted + 1) if 1 < count <= most]
    grids = [(columns, count // columns) for count in counts for columns in range(1, count + 1) if count % columns == 0]
    shape = math.log(width / height)
    return min(grids, key=lambda grid: abs(shape - math.log(grid[0] / grid[1])))


def whole_size(size: tuple[float, float], side: int, patch: int, *, grows: bool) -> Size:
    """Returns the size, in whole patches, of a picture of at most side * side pixels; with `grows`, of about so many."""
    width, height = size
    if grows or width * height > side**2:
        ratio = width / height
        height = int(side / math.sqrt(ratio))
        width = int(height * ratio)
    return _multiple(width, patch), _multiple(height, patch)


def sliced_size(size: Size, grid: tuple[int, int], side: int, patch: int) -> Size:
    """Returns the size of a picture that is cut into a grid (columns, rows) of slices of about side * side pixels."""
    columns, rows = grid
    width, height = _multiple(size[0], columns) / columns, _multiple(size[1], rows) / rows
    slice_width, slice_height = whole_size((width, height), side, patch, grows=True)
    return slice_width * columns, slice_height * rows


def _multiple(length: float, of: int) -> int:
    return max(round(length / of) * of, of)
