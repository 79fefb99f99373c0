"""`python -m workbench.launch_server`, the reference's name of what is to be `workbench serve`."""

from __future__ import annotations

import sys

from workbench.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
