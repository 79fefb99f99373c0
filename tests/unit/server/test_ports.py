from __future__ import annotations

import random
import socket

import pytest

from workbench.server import ports


def test_a_port_that_is_taken_is_not_given(monkeypatch):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        taken = one.getsockname()[1]
        monkeypatch.setattr(ports, "PORTS", [taken, free := ports.free_port()])
        assert {ports.free_port() for _ in range(20)} == {free}


def test_a_port_is_below_those_of_outgoing_connections():
    assert all(ports.free_port() in ports.PORTS for _ in range(20))
    assert ports.PORTS.stop <= 32768


def test_a_host_that_is_not_here_is_an_error(monkeypatch):
    monkeypatch.setattr(random.SystemRandom, "choice", lambda self, of: of[0])
    with pytest.raises(OSError):
        ports.free_port("192.0.2.1")
