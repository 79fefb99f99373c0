"""An HTTP server on this machine for the time of a test: JSON answers, no log, no traceback when a client has closed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JsonHandler(BaseHTTPRequestHandler):
    """A handler that answers with JSON and writes no log."""

    def answer(self, value: Any, status: int = 200) -> None:
        """Sends a whole answer."""
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Writes nothing."""


class Quiet(ThreadingHTTPServer):
    """A server with one daemon thread per request; a broken connection prints no traceback."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Writes nothing."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], **bound: Any) -> Iterator[str]:
    """Yields the address of a server; `bound` holds class attributes of its handlers."""
    server = Quiet(("127.0.0.1", 0), type("BoundHandler", (handler,), bound))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
