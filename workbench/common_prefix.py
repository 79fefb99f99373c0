"""Compares the beginnings of two sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def num_common(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Returns the number of equal leading items. Both are of one type (two tuples, two texts), so that slices compare in C."""
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
