"""`python -m workbench.bench_offline_throughput` is `workbench bench offline`."""

from __future__ import annotations

import sys

from workbench.bench.commands import run

if __name__ == "__main__":
    sys.exit(run("offline"))
