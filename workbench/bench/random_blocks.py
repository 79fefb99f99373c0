"""Quantised blocks for tests and benchmarks: any bytes, with scales of the size that weights have."""

from __future__ import annotations

import numpy as np
import torch

from workbench.checkpoint.base import Blocks
from workbench.checkpoint.block_types import SCALES
from workbench.checkpoint.dequantise import BY_NAME

FIRST = slice(0, 2)
"""Bytes of the float16 scale of types that are not in `SCALES`."""
FLOAT32_SCALES = ("INT8_32", "INT8_128", "F8_E4M3_32", "F8_E4M3_128", "NF4")
PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def random_blocks(name: str, num_rows: int, width: int, seed: int = 0, size: float = 0.01) -> Blocks:
    """Returns a matrix [num_rows, width] of random blocks, whose scales are about `size`."""
    kind, rng = BY_NAME[name], np.random.default_rng(seed)
    if kind.block_len == 1:  # plain numbers
        numbers = torch.from_numpy(rng.standard_normal((num_rows, width)) * size).to(PLAIN[name])
        return Blocks(name, numbers.view(torch.uint8), (num_rows, width))
    num = num_rows * width // kind.block_len
    raw = rng.integers(0, 256, (num, kind.block_bytes), dtype=np.uint8)
    place = SCALES.get(name, FIRST)
    for at in range(place.start, place.stop, 2):
        raw[:, at : at + 2] = (rng.standard_normal((num, 1)) * size).astype(np.float16).view(np.uint8)
    if name in FLOAT32_SCALES:
        raw[:, :4] = (rng.standard_normal((num, 1)) * size).astype(np.float32).view(np.uint8)
        if name.startswith("F8"):
            raw[:, 4:][raw[:, 4:] & 127 == 127] = 0  # the codes that are no number
    if name.startswith("INT4"):
        raw[:, 2:4] = rng.integers(0, 16, (num, 1)).astype(np.float16).view(np.uint8)
    return Blocks(name, torch.from_numpy(raw).view(num_rows, -1), (num_rows, width))
