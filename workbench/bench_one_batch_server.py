"""`python -m workbench.bench_one_batch_server` is `workbench bench one_batch_server`."""

from __future__ import annotations

import sys

from workbench.bench.commands import run

if __name__ == "__main__":
    sys.exit(run("one_batch_server"))
