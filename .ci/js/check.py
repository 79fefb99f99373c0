"""Checks the JavaScript and the style sheets of the views: Biome formats and lints them, TypeScript checks their types.

    python3 .ci/js/check.py [--write]

`--write` mends what can be mended. The tools of `package.json` are installed into .cache/js first, in their exact versions,
unless they are there. Without Node nothing is checked, which is an error if WORKBENCH_REQUIRE_NODE is set. If npm cannot fetch
the tools, nothing is checked either: a registry out of reach is no fault of the code. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TOOLS = ROOT / ".cache" / "js"
BIN = TOOLS / "node_modules" / ".bin"
WANTED = HERE / "package.json"
INSTALLED = TOOLS / "installed.json"
"""Copy of `package.json` that is written when its tools are installed."""


def main(argv: list[str]) -> int:
    missing = next((name for name in ("node", "npm") if shutil.which(name) is None), None)
    if missing is not None:
        print(f"JavaScript is not checked: {missing} is not installed", file=sys.stderr)
        return 1 if os.environ.get("WORKBENCH_REQUIRE_NODE") else 0
    if not install():
        return 0
    write = ["--write"] if "--write" in argv else []
    biome = [
        BIN / "biome",
        "check",
        *write,
        "--error-on-warnings",
        f"--config-path={HERE}",
        "workbench",
        "tests/js",
        "docs/_static",
    ]
    results = [subprocess.run(command, cwd=ROOT).returncode for command in (biome, [BIN / "tsc", "--project", HERE])]
    return max(results)


def install() -> bool:
    """Installs the tools where they are missing or other versions are wanted. Returns whether they are there."""
    wanted = WANTED.read_text("utf-8")
    if INSTALLED.exists() and INSTALLED.read_text("utf-8") == wanted:
        return True
    shutil.rmtree(TOOLS, ignore_errors=True)
    TOOLS.mkdir(parents=True)
    shutil.copy(WANTED, TOOLS)
    print("installing the tools that check JavaScript into .cache/js ...", flush=True)
    quick = ["--fetch-timeout=20000", "--fetch-retries=1"]
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error", *quick]
    if subprocess.run(command, cwd=TOOLS).returncode:
        print("npm could not install them: JavaScript is not checked", file=sys.stderr)
        return False
    INSTALLED.write_text(wanted, encoding="utf-8")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
