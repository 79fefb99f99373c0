"""Checks that this commit can be released: builds the wheel and the sdist and compares them with the repository.

    python .ci/release_check.py [--out FOLDER] [--dirty]

It needs the package hatchling. `--dirty` leaves out that all is committed, for a look while one works.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.metadata import Metadata
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = ROOT / "docs/changelog.md"
CITATION = ROOT / "CITATION.cff"
HEAD = re.compile(r"^## (\S+)(?: \((\d{4}-\d{2}-\d{2})\))?$", re.MULTILINE)
"""Heading of a version in the changelog, such as `## 0.2.0 (2026-11-30)`; without a date it is not released yet."""
CITED = re.compile(r"^version: (\S+)$", re.MULTILINE)
MAX_BYTES = 5 * 1024 * 1024
"""Largest wheel or sdist: what is larger holds something that does not belong into it."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="keep the wheel and the sdist here")
    parser.add_argument("--dirty", action="store_true", help="do not ask that all is committed")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        out = args.out or Path(temporary)
        wheel, sdist = build(out)
        found = [*faults(wheel, sdist), *([] if args.dirty else uncommitted())]
    for fault in found:
        print(fault, file=sys.stderr)
    print(f"{wheel.name} and {sdist.name}: {len(found)} faults")
    return 1 if found else 0


def build(out: Path) -> tuple[Path, Path]:
    """Builds the wheel and the sdist into a folder, with the build backend of this environment. Returns their paths."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--target", "wheel", "--directory", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"hatchling cannot build: {done.stdout}{done.stderr}")
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def faults(wheel: Path, sdist: Path) -> Iterator[str]:
    """Yields in a sentence each what is wrong with the files."""
    for path in (wheel, sdist):
        if path.stat().st_size > MAX_BYTES:
            yield f"{path.name} has {path.stat().st_size:,} bytes, at most {MAX_BYTES:,} are expected"
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        info = next(name.split("/")[0] for name in names if ".dist-info/" in name)
        metadata = opened.read(f"{info}/METADATA")
        points = opened.read(f"{info}/entry_points.txt").decode()
    with tarfile.open(sdist) as opened_sdist:
        inside = {name.partition("/")[2] for name in opened_sdist.getnames()}
    yield from faults_of_metadata(metadata)
    tracked = set(_git("ls-files", "workbench").splitlines())
    for where, has in ((wheel.name, names), (sdist.name, inside)):
        yield from (f"{where} lacks {name}" for name in sorted(tracked - has))
    yield from (
        f"{wheel.name} has {name}, which is not committed" for name in sorted(names - tracked) if not name.startswith(info)
    )
    if f"{info}/licenses/LICENSE" not in names:
        yield f"{wheel.name} lacks its licence"
    for module, function in re.findall(r"^\S+ = (\S+):(\S+)$", points, re.MULTILINE):
        if not callable(getattr(importlib.import_module(module), function, None)):
            yield f"the entry point {module}:{function} is no function"


def faults_of_metadata(text: bytes) -> Iterator[str]:
    """Yields what a package index would refuse, and where versions differ: in the metadata, the changelog, the citation."""
    try:
        metadata = Metadata.from_email(text, validate=True)
    except Exception as error:  # a group of errors, one for each field
        parts = getattr(error, "exceptions", [error])
        yield from (f"metadata: {part}" for part in parts)
        return
    if metadata.description_content_type != "text/markdown" or not metadata.description:
        yield "metadata: the description is not the README"
    yield from faults_of_version(metadata.version, CHANGELOG.read_text("utf-8"), CITATION.read_text("utf-8"))


def faults_of_version(version: Version, changelog: str, citation: str) -> Iterator[str]:
    """Yields where a version is not the newest of the changelog, not dated there, or not that of the citation."""
    heads = HEAD.findall(changelog)
    if not heads or heads[0][0] != str(version):
        yield f"the changelog begins with {heads[0][0] if heads else 'no version'}, the package is {version}"
    elif not heads[0][1]:
        yield f"the changelog does not say when {version} is released: ## {version} (YYYY-MM-DD)"
    if CITED.findall(citation) != [str(version)]:
        yield f"CITATION.cff does not cite {version}"


def uncommitted() -> Iterator[str]:
    """Yields the files that are not as they are committed."""
    yield from (f"not committed: {line[3:]}" for line in _git("status", "--porcelain").splitlines())


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
