"""The processor's cores: how many this process may use, and whether others want them too."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

CROWDED = 1.5
"""Programs per core. Below that it may be ourselves: loading a model is work too."""
CPUS, GROUPS, GROUP_OF_SELF = Path("/sys/devices/system/cpu"), Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def num_cores() -> int:
    """Returns the number of physical cores that this process may use: those of its affinity, and of the limits of its cgroups.

    Two threads on one core share its arithmetic, and threads beyond a cgroup's limit are stopped for parts of every 0.1 s.
    """
    physical = len({_siblings(cpu) for cpu in _allowed()})
    return max(1, int(min(physical, _cgroup_limit())))


def num_processors() -> int:
    """Returns the number of threads that run at once: as `num_cores`, but each of several threads on a core counts."""
    return max(1, int(min(len(_allowed()), _cgroup_limit())))


def _allowed() -> Collection[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _siblings(cpu: int) -> str:
    """Returns the logical processors of the same core, as the system writes them; the processor itself where it writes none."""
    return _read(CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list") or str(cpu)


def _cgroup_limit() -> float:
    """Returns the processors that the limits of this process's cgroups amount to, infinite where there are none."""
    groups = {"": "", "cpu": ""}  # of version 2, and of the part of version 1 that limits processors
    for line in _read(GROUP_OF_SELF).splitlines():
        _, parts, path = line.split(":", 2)
        groups |= dict.fromkeys(parts.split(","), path.strip("/"))
    limits = [_quota(*_read(place / "cpu.max").partition(" ")[::2]) for place in _upwards(GROUPS, groups[""])]
    older = _upwards(GROUPS / "cpu", groups["cpu"])
    limits += [_quota(_read(place / "cpu.cfs_quota_us"), _read(place / "cpu.cfs_period_us")) for place in older]
    return min(limits)


def _upwards(root: Path, group: str) -> list[Path]:
    """Returns the folders of a group and of those that it is in."""
    folder = root / group
    return [place for place in (folder, *folder.parents) if place.is_relative_to(root)]


def _quota(quota: str, period: str) -> float:
    try:
        return int(quota) / int(period) if int(quota) > 0 else float("inf")
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return float("inf")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def busy() -> str:
    """Returns a sentence if the machine was overloaded in the last minute, else an empty text."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= CROWDED * num_cores():
        return ""
    return f"this machine is busy: {load:.1f} programs want its {num_cores()} cores, so tokens come slowly"
