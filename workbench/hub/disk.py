"""Room on disk, and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import DiskFull

MB = 1_000_000
NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
ELSEWHERE = "set WORKBENCH_HOME to a folder on another disk"


def free_bytes(folder: Path) -> int:
    """Returns the free bytes on the file system of `folder`, or of its nearest parent that exists."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def need_room(folder: Path, needed: int, what: str, elsewhere: str = ELSEWHERE) -> None:
    """Raises `DiskFull` unless `needed` bytes are free where `folder` is or will be. `elsewhere` is the other way out."""
    free = free_bytes(folder)
    if free < needed:
        raise _disk_full(folder, f"{what} needs {needed / MB:,.0f} MB and {free / MB:,.0f} MB are free", elsewhere)


def _disk_full(folder: Path, why: str, elsewhere: str) -> DiskFull:
    return DiskFull(f"disk full at {folder}: {why}", hint=f"free some space, or {elsewhere}")


@contextmanager
def full_disk_is_an_error_of_ours(folder: Path, needed: int | None, what: str, elsewhere: str = ELSEWHERE) -> Iterator[None]:
    """Turns a full disk into `DiskFull`: it may fill up after `need_room`. `needed` is None if the size was unknown before."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        wanted = "more" if needed is None else f"{needed / MB:,.0f} MB"
        why = f"{what} needs {wanted} and {free_bytes(folder) / MB:,.0f} MB were left when writing failed"
        raise _disk_full(folder, why, elsewhere) from error


@contextmanager
def appearing_folder(target: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `target` that replaces it at the end of the block, and is deleted after an error.

    The caller holds the lock of `target`; leftovers of a killed process are deleted first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield work
        work.chmod(0o755)
        if target.exists():
            old = work.with_name(f"{work.name}-old")
            target.rename(old)
            work.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_in(path: Path) -> int:
    """Returns the size of a file, or of all files below a folder, in bytes; links are not followed."""
    if path.is_file():
        return path.stat().st_size
    return sum(os.lstat(os.path.join(root, name)).st_size for root, _, names in os.walk(path) for name in names)
