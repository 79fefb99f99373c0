"""Runs a server until a signal ends it. Its process starts the engine's before it imports what it needs for HTTP."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import socket
import sys
import threading
from contextlib import suppress

from workbench.config import ServerArgs
from workbench.errors import InvalidRequest
from workbench.process.log import write_log
from workbench.server.supervisor import Supervisor
from workbench.text.tokenizer import import_tokenizers

READY = "The server is fired up and ready to roll!"
PACKAGES = ("uvicorn", "fastapi")
"""Those of HTTP, which are imported while the engine opens."""


def serve(args: ServerArgs) -> int:
    """Opens an engine in a child process, serves it over HTTP, and returns the exit status when the server has ended.

    Raises ModuleNotFoundError, before there is an engine, without a package that HTTP needs.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    write_log(args.log_level)
    listener = listen(args.host, args.port)
    threading.Thread(target=_import_ahead, name="workbench-imports", daemon=True).start()
    supervisor = Supervisor(args)
    try:
        asyncio.run(_run(supervisor, listener))
    finally:
        supervisor.close()
    return 0


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens. Raises InvalidRequest at once if the port is in use or the address is not here."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise InvalidRequest("port", port, f"a free port of {host} ({error.strerror})", hint="give another --port") from None
    return listener


def _import_ahead() -> None:
    """Imports what this process needs later, while the engine opens in its own. An error comes again where it is needed."""
    with suppress(Exception):
        importlib.import_module("workbench.server.draining")
        import_tokenizers()


async def _run(supervisor: Supervisor, listener: socket.socket) -> None:
    from workbench.server.draining import DrainingServer, configuration  # by now `_import_ahead` has most of it

    host, port = listener.getsockname()[:2]
    config = configuration(supervisor.serving)
    print(f"{READY} http://{host}:{port}", flush=True)
    await DrainingServer(config, supervisor.serving, supervisor).serve(sockets=[listener])
    sys.stdout.flush()
