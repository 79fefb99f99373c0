"""`python -m workbench.eval TASK` is `workbench eval TASK`."""

from __future__ import annotations

import sys

from workbench.eval.commands import run

if __name__ == "__main__":
    sys.exit(run())
