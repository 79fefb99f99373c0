"""A real IPython whose `run_cell` re-raises, with engines that need no model."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.terminal.interactiveshell import TerminalInteractiveShell

sys.path.insert(0, str(Path(__file__).parent))

from fake_engine import FakeEngine, open_fake_engine

from workbench.config import ServerArgs
from workbench.errors import ModelNotFound
from workbench.magics import session


def find_fake_model(args: ServerArgs, progress) -> None:
    if args.model_path == "nowhere":
        raise ModelNotFound("nowhere is not a model")


class Shell:
    """IPython for tests. Raises the exception of a cell; the shell alone would swallow it, and the test would pass."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.ip = shell

    def run(self, source: str):
        outcome = self.ip.run_cell(source, store_history=False)
        outcome.raise_error()
        return outcome.result

    def complete(self, line: str) -> list[str]:
        return self.ip.complete("", line, len(line))[1]


@pytest.fixture(scope="session")
def _ipython(tmp_path_factory) -> InteractiveShell:
    folder = tmp_path_factory.mktemp("ipython")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder))
        shell = TerminalInteractiveShell.instance(simple_prompt=True)
    shell.history_manager.enabled = False
    # Each reset of the shell collects garbage: what other tests imported and made so far need not be looked through each time.
    gc.collect()
    gc.freeze()
    return shell


@pytest.fixture
def shell(_ipython, monkeypatch) -> Shell:
    """A shell with the extension loaded, an empty session and fake engines."""
    monkeypatch.setattr(session, "_open", open_fake_engine)
    monkeypatch.setattr(session, "_find", find_fake_model)
    _ipython.extension_manager.load_extension("workbench")
    yield Shell(_ipython)
    _ipython.extension_manager.unload_extension("workbench")
    session.conversations.clear()
    session.last = None
    _ipython.config.pop("WorkbenchMagics", None)
    _ipython.reset()


@pytest.fixture
def loaded(shell) -> FakeEngine:
    shell.run("%wb load")
    return session.engine()
