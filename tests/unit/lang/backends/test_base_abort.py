"""Aborts of a backend's calls: before a call opens, while the engine takes it, and of one id twice."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from workbench.errors import Aborted
from workbench.lang.backends.base import Backend
from workbench.lang.backends.engine import EngineBackend


def test_a_call_that_was_aborted_before_it_opened_does_not_begin_and_its_id_is_free_then():
    backend, closed = Backend(), []
    backend.abort("r")
    with pytest.raises(Aborted), backend.abortable("r", lambda: closed.append("r")):
        raise AssertionError("it began")
    with backend.abortable("r", lambda: closed.append("r")):
        backend.abort("r")
    assert closed == ["r"]


def test_an_abort_of_a_call_that_never_opens_is_forgotten():
    backend = Backend()
    backend.abort("r")
    backend.forget("r")
    with backend.abortable("r", lambda: None):
        pass


def test_an_abort_while_the_engine_takes_a_stream_ends_it():
    """The engine ignores ids that it does not have, so an abort that came to it too early would be lost."""
    backend, ended = EngineBackend.__new__(EngineBackend), []
    Backend.__init__(backend)

    def chunks():
        try:
            yield {"text": "never read", "meta_info": {}}
        finally:
            ended.append("closed")

    def generate(**body):
        backend.abort("r")  # from another thread, in the middle of tokenising
        running = chunks()
        next(running)
        return running

    backend._engine = SimpleNamespace(generate=generate, abort=lambda rid: None)
    with pytest.raises(Aborted):
        next(backend.stream({"sampling_params": {}}, "r"))
    assert ended == ["closed"]
