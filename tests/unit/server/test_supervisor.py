"""`Supervisor`: another engine in the place of one that died. `tests/server/test_life.py` does it with processes."""

from __future__ import annotations

import threading
from collections import deque
from types import SimpleNamespace

import pytest

from workbench.config import ServerArgs
from workbench.errors import EngineDead
from workbench.server import supervisor as module
from workbench.server.supervisor import Supervisor


@pytest.fixture
def supervisor(monkeypatch):
    """A supervisor without processes: a test gives it `_open`. `replaced` are the engines that it serves."""
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "_process", lambda handle: SimpleNamespace(pid=7))
    made = Supervisor.__new__(Supervisor)
    made._args = ServerArgs.make(model_path="m", max_restarts=5)
    made._restarts, made._closing, made._lock, made._traces = deque(), threading.Event(), threading.Lock(), None
    made.replaced = []
    made.serving = SimpleNamespace(args=made._args, replace=made.replaced.append)
    return made


def test_an_engine_is_opened_again_after_attempts_that_failed_in_any_way(supervisor):
    """A system without memory for a process raises OSError, which must not end the thread that opens engines."""
    attempts = [OSError(12, "Cannot allocate memory"), EngineDead("it died while it loaded"), "an engine"]

    def open_engine(args):
        result = attempts.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    supervisor._open = open_engine
    supervisor._restart("the engine's process ended")
    assert supervisor.replaced == ["an engine"]


def test_a_server_ends_while_its_engine_is_opened_again(supervisor):
    opening, may_open, closed = threading.Event(), threading.Event(), []

    def open_engine(args):
        opening.set()
        may_open.wait(60)
        return SimpleNamespace(close=lambda: closed.append("the new one"))

    supervisor._open = open_engine
    pump = threading.Thread(target=supervisor._restart, args=("the engine's process ended",), daemon=True)
    supervisor.serving.handle = SimpleNamespace(close=pump.join)  # a process's client waits for the thread that receives
    pump.start()
    assert opening.wait(60)
    closing = threading.Thread(target=supervisor.close, daemon=True)
    closing.start()
    assert supervisor._closing.wait(60)
    may_open.set()
    closing.join(60)
    assert not closing.is_alive(), "each waits for the other"
    assert (closed, supervisor.replaced) == (["the new one"], [])
