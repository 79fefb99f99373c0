"""JSON calls to a server with the standard library's client: one connection per call, which another thread may cut."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any
from urllib.parse import urlsplit

from workbench.errors import BackendFailed, InvalidRequest

CONNECT_TIMEOUT_S = 10.0
MAX_MESSAGE = 300
Watch = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Function from a function that cuts the connection to a context inside which it may be called."""


class Server:
    """One address. `call` reads a whole answer, `events` an answer of server-sent events."""

    def __init__(
        self, base_url: str, headers: Mapping[str, str] | None = None, certificates: str | None = None,
        timeout_s: float | None = None,
    ) -> None:  # fmt: skip
        """Limits each wait for more of an answer to `timeout_s`; without it an answer may take any time, and `watch` cuts it."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidRequest("the server's address", base_url, "a URL like http://localhost:30000")
        self.url = base_url.rstrip("/")
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/")
        self._is_secure = parts.scheme == "https"
        self._certificates = certificates
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": "application/json", "Connection": "close", **(headers or {})}

    def call(self, method: str, path: str, body: Any = None, watch: Watch | None = None) -> str:
        """Returns the body of the answer. Raises BackendFailed for any failure."""
        return self.read(method, path, body, watch).decode("utf-8", "replace")

    def read(self, method: str, path: str, body: Any = None, watch: Watch | None = None) -> bytes:
        """Returns the body of the answer as it came. Raises BackendFailed for any failure."""
        with self.response(method, path, body, watch) as response:
            return response.read()

    def events(self, path: str, body: Any, watch: Watch | None = None) -> Iterator[dict[str, Any]]:
        """Yields the JSON objects of `data:` lines until `data: [DONE]`. Raises BackendFailed for any failure."""
        with self.response("POST", path, body, watch) as response:
            for line in response:
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                event = json.loads(data)
                if "error" in event:
                    raise BackendFailed(f"{self.url}{path} failed: {_message(data.decode())}")
                yield event
        raise BackendFailed(f"{self.url}{path} broke off before its end")

    @contextmanager
    def response(self, method: str, path: str, body: Any, watch: Watch | None) -> Iterator[http.client.HTTPResponse]:
        """Returns a context with an answer to read. Raises BackendFailed for any failure."""
        connection = self._connect()
        line = connection.sock

        def cut() -> None:
            with suppress(OSError):  # already closed
                line.shutdown(socket.SHUT_RDWR)

        try:
            with watch(cut) if watch is not None else nullcontext():
                data = None if body is None else json.dumps(body).encode()
                connection.request(method, self._path + path, data, self._headers)
                response = connection.getresponse()
                if response.status != 200:
                    message = _message(response.read().decode("utf-8", "replace"))
                    refusal = BackendFailed(f"{self.url}{path} answered {response.status}: {message}")
                    refusal.status = response.status
                    raise refusal
                yield response
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BackendFailed(f"{self.url}{path} broke off: {type(error).__name__}: {error}") from error
        finally:
            connection.close()

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._certificates)
        except OSError as error:  # ssl.SSLError is one
            raise InvalidRequest("verify", self._certificates, f"the path of a file of certificates ({error})") from None

    def _connect(self) -> http.client.HTTPConnection:
        if self._is_secure:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_TIMEOUT_S, context=self._context()
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
        except OSError as error:
            raise BackendFailed(
                f"no server answers at {self.url} ({error})",
                hint="start it (workbench serve MODEL), or check the address",
            ) from error
        connection.sock.settimeout(self._timeout_s)
        return connection


def _message(text: str) -> str:
    """Returns the message in the body of an error, in any server's form, at most `MAX_MESSAGE` characters of it."""
    with suppress(ValueError):
        body = json.loads(text)
        error = body.get("error", body.get("detail", body.get("message"))) if isinstance(body, dict) else body
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}..."
