"""Pixels of pictures as numbers, for processors of our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALVES = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
"""Means and deviations of the colours in the pictures that CLIP and SigLIP were trained with."""


def numbers_of(picture: Image, means: Sequence[float], deviations: Sequence[float]) -> np.ndarray[Any, Any]:
    """Returns a picture in RGB as numbers [3, height, width] in float32: (value from 0 to 1 - mean) / deviation."""
    values = np.asarray(picture, dtype=np.float32) / np.float32(255)
    normal = (values - np.array(means, dtype=np.float32)) / np.array(deviations, dtype=np.float32)
    return np.ascontiguousarray(normal.astype(np.float32).transpose(2, 0, 1))
