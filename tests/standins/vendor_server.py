"""The common part of the stand-ins of vendors' APIs: a local server that keeps its requests and fails on demand.

A subclass writes one vendor's wire format. A "token" is a word with the space before it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import suppress

import local_server


class Vendor:
    """A vendor's model. `answer(text of the prompt)` is its output. `failures` are answered first, one per request."""

    def __init__(self):
        self.key = "test-key"
        self.answer = lambda prompt: f"You said {len(prompt.split())} words."
        self.requests = []
        self.headers = []
        self.failures = []
        self.num_before_break = None
        """Number of tokens after which the connection is cut."""
        self.ends_early = False
        """True if the stream ends in good order, but without its last event."""
        self.num_before_stall = None
        """Number of tokens after which the stream stalls until the client has closed."""
        self.has_stalled = threading.Event()
        self.is_endless = False
        """True if the answer continues, word for word, until the client has closed."""
        self.gone = threading.Event()
        self.num_inside = self.most_inside = 0
        self.barrier = None
        """Barrier at which every request waits for the others."""
        self.lock = threading.Lock()

    # -- what a subclass writes ---------------------------------------------------------------------------------

    def refuses(self, headers):
        """Returns whether the key is wrong."""
        raise NotImplementedError

    def error(self, status, message):
        """Returns the body of an error."""
        raise NotImplementedError

    def invalid(self, body):
        """Returns the mistake in a request, if there is one."""

    def events(self, path, body):
        """Yields (bytes of an event, whether it is a token of the answer) for the whole stream."""
        raise NotImplementedError

    def get(self, path):
        """Returns the body of a GET, if there is one."""


def tokens(text):
    return re.findall(r"\s*\S+|\s+$", text)


def limited(text, stops, limit):
    """Returns (tokens, "stop" | "length", the stop string): a vendor ends an answer at the first stop string or at the limit."""
    found = [(text.find(stop), stop) for stop in stops or () if stop in text]
    matched = None
    if found:
        at, matched = min(found)
        text = text[:at]
    words = tokens(text)
    if limit is not None and len(words) > limit:
        return words[:limit], "length", None
    return words, "stop", matched


def sse(data, event=None):
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


class Handler(local_server.JsonHandler):
    protocol_version = "HTTP/1.1"
    vendor: Vendor

    def do_GET(self):
        body = self.vendor.get(self.path)
        self.answer(self.vendor.error(404, "nothing here") if body is None else body, 404 if body is None else 200)

    def do_POST(self):
        vendor, body = self.vendor, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with vendor.lock:
            vendor.requests.append((self.path, body))
            vendor.headers.append({name.lower(): value for name, value in self.headers.items()})
            failure = vendor.failures.pop(0) if vendor.failures else None
            vendor.num_inside += 1
            vendor.most_inside = max(vendor.most_inside, vendor.num_inside)
        try:
            if vendor.refuses(self.headers):
                return self.answer(vendor.error(401, "that key is not known here"), 401)
            if failure is not None:
                return self.answer(vendor.error(*failure), failure[0])
            if (reason := vendor.invalid(body)) is not None:
                return self.answer(vendor.error(400, reason), 400)
            if vendor.barrier is not None:
                vendor.barrier.wait()
            return self.stream(vendor.events(self.path, body))
        finally:
            with vendor.lock:
                vendor.num_inside -= 1

    def stream(self, events):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        num_tokens, events = 0, list(events)
        for i, (event, is_token) in enumerate(events):
            if self.vendor.ends_early and not any(token for _, token in events[i:]):
                break
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            num_tokens += is_token
            while is_token and self.vendor.is_endless:
                time.sleep(0.01)
                try:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
                except OSError:
                    self.vendor.gone.set()
                    self.close_connection = True
                    return
            if num_tokens and num_tokens == self.vendor.num_before_break:
                self.close_connection = True
                return
            if num_tokens and num_tokens == self.vendor.num_before_stall:
                self.vendor.has_stalled.set()
                with suppress(OSError):
                    self.rfile.read(1)  # the client sends nothing more on this line
                self.vendor.gone.set()
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")


def serving(vendor):
    """Returns a context with the server's address; `vendor` keeps the requests."""
    return local_server.serving(Handler, vendor=vendor)
