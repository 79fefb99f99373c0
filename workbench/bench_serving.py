"""`python -m workbench.bench_serving` is `workbench bench serving`."""

from __future__ import annotations

import sys

from workbench.bench.commands import run

if __name__ == "__main__":
    sys.exit(run("serving"))
