"""A port for a server that a command starts: until it listens, which takes a moment, the port must stay free."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

PORTS = range(20_000, 32_000)
"""Ports that no outgoing connection takes before the server does: Linux gives those from 32768 on."""


def free_port(host: str = "127.0.0.1") -> int:
    """Returns a port of this machine on which nothing listens. Raises OSError for a host that is not here."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as known:
        known.bind((host, 0))
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket(family, socket.SOCK_STREAM) as free, suppress(OSError):
            free.bind((host, port))
            return port
