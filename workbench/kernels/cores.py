"""The processor's cores, and whether others want them too."""

from __future__ import annotations

import os

CROWDED = 1.5
"""Programs per core. Below that it may be ourselves: loading a model is work too."""


def num_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy() -> str:
    """Returns a sentence if the machine was overloaded in the last minute, else an empty text."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= CROWDED * num_cores():
        return ""
    return f"this machine is busy: {load:.1f} programs want its {num_cores()} cores, so tokens come slowly"
