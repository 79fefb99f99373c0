"""Starts a server in a child process for the length of a benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from workbench.config import ServerArgs
from workbench.errors import EngineDead
from workbench.server.run import READY

SERVE = (
    "import json, sys; from workbench.config import ServerArgs; from workbench.server.run import serve;"
    "sys.exit(serve(ServerArgs(**json.loads(sys.argv[1]))))"
)


@contextmanager
def started(server_args: ServerArgs) -> Iterator[str]:
    """Serves on a free port of this machine; yields the address. Raises EngineDead if the server does not start."""
    settings = json.dumps(server_args.to_dict() | {"port": 0, "host": "127.0.0.1"})
    server = subprocess.Popen([sys.executable, "-c", SERVE, settings], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        ready = next((line for line in server.stdout if line.startswith(READY)), None)
        if ready is None:
            raise EngineDead("the server did not start", hint="its messages are above")
        yield f"http://127.0.0.1:{int(ready.rpartition(':')[2])}"
    finally:
        server.terminate()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
