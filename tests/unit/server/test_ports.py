"""Ports for servers that commands start."""

from __future__ import annotations

import socket

import pytest

from workbench.server.ports import PORTS, free_port


def test_a_free_port_is_one_of_those_that_no_outgoing_connection_takes_and_nothing_listens_there(monkeypatch):
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        free = free_port()
        assert free in PORTS
        monkeypatch.setattr("workbench.server.ports.PORTS", [used.getsockname()[1]] * 50 + [free])
        assert free_port() == free


def test_a_host_that_is_not_here_has_no_port():
    with pytest.raises(OSError, match="assign"):
        free_port("203.0.113.7")
