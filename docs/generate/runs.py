"""The name under which the runs of notebooks are kept: it changes with the package's sources."""

from __future__ import annotations

import hashlib
from pathlib import Path

SOURCES = {".py", ".js", ".css", ".cpp", ".h", ".json", ".jinja"}


def package_hash(root: Path) -> str:
    """Returns a hash of everything that the outputs of a notebook may depend on beside the notebook itself."""
    found = hashlib.sha256()
    for path in sorted((root / "workbench").rglob("*")):
        if path.suffix in SOURCES:
            found.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return found.hexdigest()[:16]
