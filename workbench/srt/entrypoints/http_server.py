"""`from workbench.srt.entrypoints.http_server import launch_server`."""

from __future__ import annotations

from workbench.config import ServerArgs
from workbench.server.run import serve


def launch_server(server_args: ServerArgs) -> int:
    """Serves a model until a signal ends it; returns the exit status."""
    return serve(server_args)


__all__ = ["launch_server"]
