"""The common part of all tests: a deterministic environment and the files of the real models."""

from __future__ import annotations

import gc
import inspect
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# A shell starts background processes with interrupts ignored; the tests of interrupts need them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before any import of torch or transformers: both read these once.
os.environ.setdefault("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1)))
# A thread that spins while it waits for one that has lost its core makes a busy machine ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WORKBENCH_CHECK", "1")
os.environ.setdefault("WORKBENCH_KERNELS", "wait")  # all steps of all tests are computed in the same way

import httpx
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("ci", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# A limit is there to end what hangs: httpx's own five seconds can pass on a busy machine.
LIMITS = inspect.signature(httpx.get).parameters["timeout"].default
for _name in ("connect", "read", "write", "pool"):
    setattr(LIMITS, _name, 60.0)

IS_FAST = os.environ.get("WORKBENCH_TEST_FAST") == "1"
"""True in `make test-fast`: no model, no browser, no child process."""
STARTED: list[object] = []
"""Commands of the child processes that the present test started, in a fast run."""
START = ("subprocess.Popen", sys.executable)
if IS_FAST:
    sys.addaudithook(lambda event, args: STARTED.append(args[1]) if (event, *args[:1]) == START else None)


def pytest_runtest_logstart() -> None:
    """Gives every test the same random numbers, whichever tests ran before it."""
    STARTED.clear()
    random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by their fixtures and parameters: those of a real model, and those of an engine in a child process."""
    for item in items:
        if "site" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.process)
        if {"smollm2", "gemma3"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.model)
        if "process" in getattr(getattr(item, "callspec", None), "id", "").split("-"):
            item.add_marker(pytest.mark.process)


def pytest_collection_finish() -> None:
    """Takes ten thousand collected tests, which live to the end, out of every later look for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=IS_FAST)
def starts_no_process() -> Iterator[None]:
    """Fails a test of the fast run that starts a child process: it needs the marker `process`."""
    yield
    assert STARTED == []


@pytest.fixture(scope="session")
def smollm2() -> str:
    """GGUF file of the default model; fetched into WORKBENCH_HOME by the first test that needs it."""
    return _model_path("smollm2-135m")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the built site: that of WORKBENCH_SITE, or else one that is built here without running the notebooks."""
    if built := os.environ.get("WORKBENCH_SITE"):
        return Path(built)
    pytest.importorskip("furo", reason="the tests of the site need the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    docs = Path(__file__).parents[1] / "docs"
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-d",
        f"{folder}/doctrees",
        str(docs),
        f"{folder}/html",
    ]
    done = subprocess.run(command, env={**os.environ, "WORKBENCH_DOCS_EXECUTE": "off"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="session")
def gemma3() -> str:
    """GGUF file of the second family's model."""
    return _model_path("gemma3-270m")


def _model_path(alias: str) -> str:
    from workbench.hub import find as hub

    return str(hub.resolve(alias).path)
