"""The native HTTP API over any engine: `/generate` (streamed too), `/get_model_info`, `/get_server_info`, `/flush_cache`."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager

import local_server


class Handler(local_server.JsonHandler):
    engine = None
    facts: dict = {}
    requests: list = []

    def do_GET(self):
        if self.path == "/get_model_info":
            model = self.engine.server_args.model_path
            return self.answer({"model_path": model, "is_generation": True, "tokenizer_path": model})
        if self.path == "/get_server_info":
            return self.answer(self.engine.get_server_info() | {"tokenizer": self.facts})
        return self.answer({"error": {"message": f"no {self.path} here"}}, 404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        self.requests.append((self.path, dict(body)))
        if self.path == "/flush_cache":
            return self.answer({"flushed": self.engine.flush_cache()})
        stream = body.pop("stream", False)
        try:
            results = self.engine.generate(body.pop("text", None), **body, stream=stream)
        except ValueError as error:
            return self.answer({"error": {"message": str(error)}}, 400)
        return self.stream(results) if stream else self.answer(results)

    def stream(self, chunks):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with closing(chunks):  # aborts the request if the client has closed
            for chunk in chunks:
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")


@contextmanager
def serving(engine, facts=None):
    """Yields (address, list of received requests)."""
    requests = []
    with local_server.serving(Handler, engine=engine, facts=facts or {}, requests=requests) as address:
        yield address, requests
