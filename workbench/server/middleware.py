"""`Gate`: what every request passes first: its id, the key, the size of its body, the end of the server.

Plain ASGI: Starlette's own middleware class hides from the routes that a client has left.
"""

from __future__ import annotations

import hmac
import json
import logging
import re
import uuid
from collections.abc import Iterable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench.api.remote import CHANGES
from workbench.native.call import CALL, Call
from workbench.server.problem import Problem, problem_of
from workbench.server.serving import Serving

logger = logging.getLogger("workbench.server")
OPEN_PATHS = frozenset({"/", "/docs", "/health", "/health_generate", "/ping"})
OPEN_FILES = "/page/static/"
"""Paths that need no key and are answered while the server drains, and the folder of such files."""
MANAGEMENT = frozenset(
    {"/update_weights_from_disk", "/update_weights", "/update_weights_from_tensor"}
    | {"/flush_cache", "/start_profile", "/stop_profile", "/abort_request"}
    | {f"/engine/call/{name}" for name in CHANGES}
)
"""Paths that ask for the management key where one is set."""
MAX_PROGRAM = 60
"""Characters of a client's `User-Agent`, or of a path, that views show."""
PARENTS = ("traceparent", "tracestate")
"""Headers that name the span of the caller."""
PLAIN_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Gate:
    """The outermost application. It answers what it refuses, and every error that a route did not answer."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self._app = app
        self._serving = serving
        args = serving.args
        self._keys = [key.encode() for key in (args.api_key, args.admin_api_key) if key]
        self._admin_keys = [key.encode() for key in (args.admin_api_key or args.api_key,) if key]
        self._prefix = (args.root_path or "").rstrip("/")
        self._max_bytes = int(args.max_body_mb * 2**20)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope = self._without_prefix(scope)
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id", b""))
        scope.setdefault("state", {})["request_id"] = request_id
        has_begun = False

        async def marked(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        sent: Send = marked
        parents = {name: headers[name.encode()].decode("latin-1") for name in PARENTS if name.encode() in headers}
        CALL.set(Call(_origin(scope, headers), scope["path"], parents))
        counts = scope.get("method") == "POST"
        self._serving.num_open += counts
        try:
            self._check(scope, headers)
            if scope.get("method") == "HEAD":  # routes have GET
                scope, sent = {**scope, "method": "GET"}, _without_body(sent)
            await self._app(scope, self._limited(receive, headers), sent)
        except ClientDisconnect:  # it left before its body was whole
            return
        except Exception as error:
            problem = problem_of(error)
            if problem.status == 500:
                logger.exception("request %s failed", request_id)
            if not has_begun and scope["type"] == "http":
                await _answer(problem, scope["path"], sent)
        finally:
            self._serving.num_open -= counts

    def _without_prefix(self, scope: Scope) -> Scope:
        """Returns the scope with the path that routes have, whether a proxy removed the prefix or not."""
        prefix = self._prefix
        if not prefix:
            return scope
        path: str = scope["path"]
        return {**scope, "root_path": prefix, "path": path[len(prefix) :] if path.startswith(f"{prefix}/") else path}

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith(OPEN_FILES) or scope.get("method") == "OPTIONS":
            return
        if b"origin" in headers and scope.get("method") == "POST" and not _is_json(headers):
            raise Problem(415, "a browser must send application/json")  # a page can send the rest without a preflight
        if headers.get(b"sec-fetch-site") == b"cross-site" and path in MANAGEMENT:
            raise Problem(403, "a page of another site may not do this")
        keys = self._admin_keys if path in MANAGEMENT else self._keys
        if keys and not _has_key(scope, headers, keys):
            raise Problem(401, "the API key is missing or wrong: send it as 'Authorization: Bearer KEY'", code="invalid_api_key")
        if self._serving.is_draining and scope.get("method") != "GET":
            raise Problem(503, "the server is shutting down", code="shutting_down")

    def _limited(self, receive: Receive, headers: dict[bytes, bytes]) -> Receive:
        """Returns `receive` with a limit on the bytes of the body."""
        limit, num_received = self._max_bytes, 0
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            raise Problem(413, f"the body has {int(length)} bytes; the limit is {limit} (--max-body-mb)")

        async def limited() -> Message:
            nonlocal num_received
            message = await receive()
            num_received += len(message.get("body", b""))
            if num_received > limit:
                raise Problem(413, f"the body has more than {limit} bytes (--max-body-mb)")
            return message

        return limited


def _has_key(scope: Scope, headers: dict[bytes, bytes], keys: Iterable[bytes]) -> bool:
    """Returns whether a request has one of the keys. The time does not depend on how much of a key is right."""
    scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
    given = bearer.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
    return sum(hmac.compare_digest(given, key) for key in keys) > 0


def _origin(scope: Scope, headers: dict[bytes, bytes]) -> str:
    """Returns a client in words, such as "/v1/completions from 127.0.0.1 (OpenAI/Python 3.0.1)"."""
    program = headers.get(b"user-agent", b"")[:MAX_PROGRAM].decode("latin-1")
    host, _ = scope.get("client") or ("a socket", 0)
    return f"{scope['path'][:MAX_PROGRAM]} from {host}{f' ({program})' if program else ''}"


def _is_json(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower().endswith(b"json")


def _request_id(given: bytes) -> str:
    """Returns the client's id where it is plain and of sane length, else a new one."""
    text = given[:128].decode("latin-1")
    return text if PLAIN_ID.fullmatch(text) else f"req_{uuid.uuid4().hex}"


def _without_body(send: Send) -> Send:
    """Returns `send` without the body: the answer is whole when it begins, also that of a stream without an end."""

    async def head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return head


async def _answer(problem: Problem, path: str, send: Send) -> None:
    body = json.dumps(problem.for_path(path), ensure_ascii=False).encode("utf-8", "replace")
    headers = {"content-type": "application/json", "content-length": str(len(body)), **problem.headers}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
