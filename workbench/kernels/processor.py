"""Features of the processor, by the names that Linux gives them."""

from __future__ import annotations

import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@cache
def features() -> frozenset[str]:
    """Returns the processor's features: "avx2", "avx512_bf16", "asimd" and so on; none where the system does not list them."""
    if sys.platform == "darwin":
        return _of_macos()
    with suppress(OSError):
        for line in CPUINFO.read_text().splitlines():
            name, _, words = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return frozenset(words.split())
    return frozenset()


def _of_macos() -> frozenset[str]:
    if platform.machine() == "arm64":
        return frozenset({"asimd", "asimddp"})  # every such Mac has them
    command = ["sysctl", "-n", "machdep.cpu.features", "machdep.cpu.leaf7_features"]
    with suppress(OSError, subprocess.SubprocessError):
        return frozenset(subprocess.run(command, capture_output=True, text=True, check=True).stdout.lower().split())
    return frozenset()
