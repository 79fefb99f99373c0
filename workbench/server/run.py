"""Runs a server until a signal ends it."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from workbench.api.handle import Handle
from workbench.config import ServerArgs
from workbench.errors import InvalidRequest
from workbench.process.client import open_process
from workbench.server.app import make_app
from workbench.server.serving import Serving

NUM_THREADS = 64
"""Threads of the event loop for work that blocks: tokenising, and waiting for the engine's answer."""
READY = "The server is fired up and ready to roll!"


def serve(args: ServerArgs) -> int:
    """Opens an engine in a child process, serves it over HTTP, and returns the exit status when the server has ended."""
    listener = listen(args.host, args.port)
    serving = Serving(Handle(open_process(args), args))
    try:
        asyncio.run(_run(serving, listener))
    finally:
        serving.handle.close()
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
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def _run(serving: Serving, listener: socket.socket) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(NUM_THREADS, "workbench-http"))
    config = uvicorn.Config(make_app(serving), log_level=serving.args.log_level_http or serving.args.log_level, access_log=False)
    server = uvicorn.Server(config)
    print(READY, flush=True)
    await server.serve(sockets=[listener])
