"""A port for a server that another process is to open."""

from __future__ import annotations

import errno
import random
import socket

PORTS = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections (32768 on), one of which could take the port before the server does."""


def free_port(host: str = "127.0.0.1") -> int:
    """Returns a port of the host that is free now. Raises OSError if the host is not this machine."""
    draw = random.SystemRandom()
    while True:
        port = draw.choice(PORTS)
        with socket.socket() as free:
            try:
                free.bind((host, port))
                return port
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
