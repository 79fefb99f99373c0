"""`python -m workbench.launch_server --model-path MODEL ...`: the reference's way to start a server."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from workbench.cli import main as run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a server with these arguments; returns its exit status."""
    return run_command(["serve", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
