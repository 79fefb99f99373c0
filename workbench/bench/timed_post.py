"""Sends one request over a socket of its own and keeps what arrives with its time.

The answer is read after its end, so that a load takes little from the cores that it shares with the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from workbench.errors import BackendFailed

Read = tuple[float, bytes]
"""Bytes and the time at which they arrived, of `time.perf_counter`."""


class _Answer(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self.reads: list[Read] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.reads.append((time.perf_counter(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.ended.done():
            return
        if exc:
            self.ended.set_exception(exc)
        else:
            self.ended.set_result(None)


async def post(base_url: str, path: str, body: bytes, headers: Mapping[str, str]) -> list[Read]:
    """Returns all reads of the answer; the server closes the connection after it."""
    url = urlsplit(base_url)
    fields = {
        "Host": url.netloc,
        "Content-Type": "application/json",
        "Content-Length": len(body),
        "Connection": "close",
        **headers,
    }
    head = "\r\n".join(f"{name}: {value}" for name, value in fields.items())
    request = f"POST {url.path.rstrip('/')}{path} HTTP/1.1\r\n{head}\r\n\r\n".encode() + body
    secure = url.scheme == "https"
    transport, answer = await asyncio.get_running_loop().create_connection(
        lambda: _Answer(request), url.hostname or "", url.port or (443 if secure else 80), ssl=secure or None
    )
    try:
        await answer.ended
    finally:
        transport.close()
    return answer.reads


def lines(reads: Sequence[Read]) -> Iterator[Read]:
    """Yields each line of the body with the time of its last byte. Raises BackendFailed for another status than 200."""
    head = pending = line = b""
    is_chunked = False
    for at, data in reads:
        pending += data
        if not head:
            if b"\r\n\r\n" not in pending:
                continue
            head, _, pending = pending.partition(b"\r\n\r\n")
            is_chunked = b"transfer-encoding: chunked" in head.lower()
            if (status := int(head.split(maxsplit=2)[1])) != 200:
                rest = b"".join(data for _, data in reads).partition(b"\r\n\r\n")[2]
                raise BackendFailed(f"status {status}: {rest[:2000].decode(errors='replace')}")
        body, pending = _unchunk(pending) if is_chunked else (pending, b"")
        *whole, line = (line + body).split(b"\n")
        yield from ((at, each.rstrip(b"\r")) for each in whole)
    if not head:
        raise BackendFailed("the connection was closed without an answer")
    if line:
        yield reads[-1][0], line


def _unchunk(raw: bytes) -> tuple[bytes, bytes]:
    """Returns the content of the whole chunks, and what is left."""
    content = b""
    while True:
        size_line, found, rest = raw.partition(b"\r\n")
        size = int(size_line.split(b";")[0], 16) if found else 0
        if not found or len(rest) < size + 2:
            return content, raw
        content, raw = content + rest[:size], rest[size + 2 :]
