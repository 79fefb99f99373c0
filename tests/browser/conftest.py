"""Chromium and JupyterLab. Without a browser these tests are skipped, or fail where WORKBENCH_REQUIRE_BROWSER is set."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright (extra `test`)")
from workbench.testing.jupyter import BROWSER_ARGS, Notebook, Server, find_chromium  # noqa: E402

WAIT_S = 60
"""Seconds that a page may take on a busy machine to become as a test expects. One that is right ends the wait at once."""
playwright.expect.set_options(timeout=WAIT_S * 1000)


@pytest.fixture(scope="session")
def settles() -> Callable[[Callable[[], bool]], bool]:
    """A function that returns whether a condition becomes true."""

    def settles(condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    return settles


@pytest.fixture(scope="session")
def chromium() -> str:
    try:
        found = find_chromium()
    except FileNotFoundError as error:
        pytest.fail(str(error))
    if found is None:
        reason = "no Chromium on PATH: install one (Debian: apt-get install chromium) or name it in WORKBENCH_CHROMIUM"
        (pytest.fail if os.environ.get("WORKBENCH_REQUIRE_BROWSER") else pytest.skip)(reason)
    return found


@pytest.fixture(scope="session")
def server(chromium: str, smollm2: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the default model fetched, so that no cell waits for the network."""
    server = Server(tmp_path_factory.mktemp("jupyter"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[playwright.Browser]:
    """Not for the session: while it is open this thread has a running event loop, which other tests must not find."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(BROWSER_ARGS))
        yield browser
        browser.close()


@pytest.fixture
def new_context(browser: playwright.Browser) -> Callable[..., playwright.BrowserContext]:
    """Function that opens a context of the browser, whose pages have time."""

    def new_context(**options: Any) -> playwright.BrowserContext:
        context = browser.new_context(**options)
        context.set_default_timeout(2 * WAIT_S * 1000)
        return context

    return new_context


@pytest.fixture
def notebook(server: Server, new_context: Callable[..., playwright.BrowserContext]) -> Iterator[Notebook]:
    """A page of its own for each test, and afterwards no kernel."""
    context = new_context(viewport={"width": 1280, "height": 1000})
    yield Notebook(context.new_page(), server)
    context.close()
    server.stop_kernels()
