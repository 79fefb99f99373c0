"""The backend of a program that names none."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest
from scripted_backend import ScriptedBackend
from scripted_engine import ScriptedEngine

import workbench as sgl
from workbench.errors import BackendLacks, NotSupported
from workbench.lang import default
from workbench.lang.backends.base import Backend
from workbench.lang.backends.engine import EngineBackend
from workbench.text.tokenizer import load_tokenizer


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch):
    monkeypatch.setattr(default, "_engines", [])
    yield
    sgl.set_default_backend(None)


class Opened(ScriptedEngine):
    def __init__(self, smollm2):
        super().__init__()
        self.tokenizer = load_tokenizer(smollm2).hf
        self.tokenizer_manager = SimpleNamespace(tokenizer=self.tokenizer)
        self.log = ScriptedBackend().log
        self.picture_marks = {}
        self.is_open = True


@sgl.function
def ask(s):
    s += "a" + sgl.gen("x")


def test_without_any_the_error_says_what_to_do():
    with pytest.raises(default.NoBackend, match="no backend is set and no engine is loaded") as caught:
        ask.run()
    assert "set_default_backend" in caught.value.hint


def test_a_backend_that_was_set_is_used_until_it_is_forgotten_and_a_call_may_name_another():
    first, second = ScriptedBackend(lambda text: "first"), ScriptedBackend(lambda text: "second")
    sgl.set_default_backend(first)
    assert ask.run()["x"] == "first"
    assert ask.run(backend=second)["x"] == "second"
    assert [state["x"] for state in sgl.run_batch([ask, ask])] == ["first", "first"]
    sgl.flush_cache()
    assert first.calls == []
    assert sgl.get_server_info(second) == {"model": "scripted"}
    sgl.set_default_backend(None)
    with pytest.raises(default.NoBackend):
        ask.run()


def test_the_engine_opened_last_that_is_still_open_is_the_default(smollm2):
    one, two = Opened(smollm2), Opened(smollm2)
    default.engine_opened(one)
    default.engine_opened(two)
    assert default.default_backend()._engine is two
    two.is_open = False
    assert default.default_backend()._engine is one
    assert isinstance(default.as_backend(one), EngineBackend)
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
    with pytest.raises(default.NoBackend):
        default.default_backend()


def test_other_things_are_refused():
    with pytest.raises(NotSupported, match="str is not a backend"):
        sgl.set_default_backend("http://localhost:30000")


def test_a_backend_that_declares_nothing_lacks_everything():
    backend = Backend()
    for call in (backend.flush_cache, backend.get_server_info):
        with pytest.raises(BackendLacks):
            call()
    with pytest.raises(BackendLacks, match="this backend cannot do: completion"):
        ask.run(backend=backend)
