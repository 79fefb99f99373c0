"""One file over HTTP: continued where it stopped, checked by its sha256, complete or absent."""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.error
from pathlib import Path

from workbench.errors import ModelCorrupt, ModelNotFound
from workbench.hub.disk import sha256_of
from workbench.hub.package_index import NETWORK_ERRORS, Link, Web
from workbench.hub.progress import Progress

BLOCK = 1 << 18
ATTEMPTS = 5
"""Failures in a row, without a byte gained, before giving up."""
GIVE_UP_AT_ONCE = frozenset(range(400, 500)) - {408, 416, 429}


def download(link: Link, target: Path, web: Web, progress: Progress, *, pause_s: float = 1.0) -> Path:
    """Leaves the file at `target`. What came before an interruption stays in `target` + ".part" and is continued."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    was_begun = part.exists()
    if not (link.sha256 and was_begun and sha256_of(part) == link.sha256):  # else it only lacked its name
        _fill(link, part, web, progress, pause_s)
    digest = sha256_of(part)
    if link.sha256 and digest != link.sha256:
        part.unlink()
        if was_begun:  # an old beginning may belong to another file: once more from the start
            return download(link, target, web, progress, pause_s=pause_s)
        raise ModelCorrupt(
            f"{link.filename} arrived with sha256 {digest}, the package index states {link.sha256}",
            hint="try again; if it stays so, the index or a proxy before it serves a damaged file",
        )
    os.replace(part, target)
    return target


def _fill(link: Link, part: Path, web: Web, progress: Progress, pause_s: float) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            _continue(link, part, web, progress)
            return
        except NETWORK_ERRORS as error:
            status = error.code if isinstance(error, urllib.error.HTTPError) else None
            if status == 416:  # the part is longer than the file: it is not a beginning of it
                part.unlink(missing_ok=True)
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS or status in GIVE_UP_AT_ONCE:
                raise ModelNotFound(
                    f"downloading {link.filename} stopped at {_size(part):,} bytes: {error or type(error).__name__}",
                    hint="check the network and try again: it continues where it stopped",
                ) from error
            time.sleep(pause_s * failures)


def _continue(link: Link, part: Path, web: Web, progress: Progress) -> None:
    """Asks for what is missing; a server that cannot continue sends everything, and the part starts again."""
    done = _size(part)
    with web.get(link.url, {"Range": f"bytes={done}-", "Accept-Encoding": "identity"} if done else {}) as response:
        if response.status == 206 and _starts_at(response.headers.get("Content-Range", "")) != done:
            raise http.client.HTTPException("the server continued at the wrong place")
        done = done if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else 0
        with part.open("ab" if done else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                done += len(block)
                progress(f"fetching {link.filename}", done, max(total, done))
    if done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _starts_at(content_range: str) -> int | None:
    match = re.match(r"bytes (\d+)-", content_range)
    return int(match[1]) if match else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
