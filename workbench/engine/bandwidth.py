"""The speed at which all threads together read the memory of a device: the limit of decoding one stream."""

from __future__ import annotations

import time

import psutil
import torch

SECONDS = 0.2
MOST_BYTES = 512 << 20
"""More than caches hold."""
SHARE = 4
"""At most one part in so many of the free memory is used."""


@torch.inference_mode()
def memory_bandwidth(device: torch.device) -> float:
    """Returns bytes per second of the fastest of several readings, in `SECONDS` after a first one that does not count."""
    num_bytes = min(MOST_BYTES, psutil.virtual_memory().available // SHARE)
    buffer = torch.ones(num_bytes // 4, device=device)
    float(buffer.sum())  # waits for a device beside the CPU
    fastest, until = float("inf"), time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < until:
        float(buffer.sum())
        fastest = min(fastest, time.perf_counter() - began)
    return buffer.nbytes / fastest
