"""`attach`: the views of, and the questions about, an engine behind a running server."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec

from workbench.api.handle import Handle
from workbench.api.inspected import Inspected
from workbench.api.remote import RemoteClient, address
from workbench.client.answers import EngineInfo
from workbench.client.opened import Opened
from workbench.config import ServerArgs
from workbench.errors import BackendFailed, InvalidRequest, NotSupported, UnknownParameter
from workbench.lang.backends.http import Server
from workbench.process.messages import ONE_VERSION
from workbench.text.tokenizer import Tokenizer, load_tokenizer
from workbench.views.advice import ATTACHED

SILENCE_S = 30.0
"""Seconds without any message after which the event stream counts as broken; the server sends one every few seconds."""


class Attached(Inspected):
    """An engine behind a server: `view`, `explain`, `why`, `mask`, `cache`, `memory` as of an `Engine`. It generates nothing.

    >>> with workbench.attach("http://localhost:30000") as served:
    ...     served.view("batch")
    """

    def __init__(self, url: str, api_key: str | None = None, *, read_only: bool = True, history: int = 20_000) -> None:
        """Follows the server's event log, which begins with its last `history` events.

        `api_key` is the server's key, with `read_only=False` its key for management calls: `abort`, `flush_cache`, and token
        detail, which costs the engine time. Raises BackendFailed if no server answers or it refuses, InvalidRequest for
        another address than a URL, NotSupported for a server without events.
        """
        server = address(url, api_key, SILENCE_S)
        self.url = server.url
        described = _described(server)
        args = _args(described["args"])
        client = RemoteClient(server, read_only=read_only, log_size=args.event_log_size, history=history)
        try:
            tokenizer = _tokenizer(server) if described["has_tokenizer"] else None
            self._handle = Handle(Opened(client, tokenizer, msgspec.convert(described["info"], EngineInfo)), args)
        except BaseException:
            client.close()
            raise
        self._handle.epoch = described["epoch"]
        self.server_args = args
        """The settings of the server, with stars in the place of its keys."""
        self.advice = ATTACHED

    @property
    def is_open(self) -> bool:
        """True until `close` is called."""
        return self._handle.is_open

    def abort(self, rid: str) -> None:
        """Ends a request of the server. Raises NotSupported with `read_only`, BackendFailed if the server refuses."""
        self._handle.client.abort(rid)

    def flush_cache(self) -> int:
        """Drops every cached prefix that no request uses; returns the number of tokens dropped. Raises what `abort` raises."""
        return self._handle.client.engine.flush_cache()

    def close(self) -> None:
        """Stops following; the server goes on. May be called twice."""
        self._handle.close()

    shutdown = close

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def attach(url: str, api_key: str | None = None, *, read_only: bool = True, history: int = 20_000) -> Attached:
    """Returns the engine behind a server, to look into. See `Attached`."""
    return Attached(url, api_key, read_only=read_only, history=history)


def _described(server: Server) -> dict[str, Any]:
    try:
        described: dict[str, Any] = msgspec.json.decode(server.read("GET", "/engine/info"))
    except BackendFailed as error:
        if error.status == 404:
            hint = "`workbench serve` does; workbench.RuntimeEndpoint runs programs on any"
            raise NotSupported(f"the server at {server.url} has no event stream", hint=hint) from None
        raise
    return described


def _args(settings: dict[str, Any]) -> ServerArgs:
    try:
        return ServerArgs.make(**settings)
    except (UnknownParameter, InvalidRequest) as error:
        raise NotSupported(f"the server has settings that are not known here ({error})", hint=ONE_VERSION) from None


def _tokenizer(server: Server) -> Tokenizer:
    """Reads the server's tokenizer, whose files need not be here."""
    files = msgspec.msgpack.decode(server.read("GET", "/engine/tokenizer"), type=dict[str, bytes])
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / Path(name).name).write_bytes(content)
        return load_tokenizer(folder)
