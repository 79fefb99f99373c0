"""`Supervisor`: another engine in the place of one that died. `tests/server/test_life.py` does it with processes."""

from __future__ import annotations

import threading
from collections import deque
from types import SimpleNamespace

from workbench.config import ServerArgs
from workbench.errors import EngineDead
from workbench.server import supervisor as module
from workbench.server.supervisor import Supervisor


def test_an_engine_is_opened_again_after_attempts_that_failed_in_any_way(monkeypatch):
    """A system without memory for a process raises OSError, which must not end the thread that opens engines."""
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "_process", lambda handle: SimpleNamespace(pid=7))
    attempts, replaced = [OSError(12, "Cannot allocate memory"), EngineDead("it died while it loaded"), "an engine"], []

    def open_engine(args):
        result = attempts.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    supervisor = Supervisor.__new__(Supervisor)
    supervisor._args = ServerArgs.make(model_path="m", max_restarts=5)
    supervisor._restarts, supervisor._closing, supervisor._lock = deque(), threading.Event(), threading.Lock()
    supervisor.serving = SimpleNamespace(args=supervisor._args, replace=replaced.append)
    supervisor._open = open_engine
    supervisor._restart("the engine's process ended")
    assert replaced == ["an engine"]
