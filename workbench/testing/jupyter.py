"""Drives JupyterLab as a user has it: a server in a process of its own, and one of its notebooks open in Chromium.

The browser tests and `workbench bench views` use it. It needs the package playwright and a Chromium.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Playwright, Request, WebSocket

from workbench.errors import NotSupported
from workbench.server.ports import free_port

HOST = "127.0.0.1"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# No host but this machine resolves, so a request for another host fails.
BROWSER_ARGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-component-update",
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}",
)  # fmt: skip
SERVER_ARGS = (
    "--allow-root", "--no-browser", "--ServerApp.ip=" + HOST, "--ServerApp.port_retries=0",
    "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
    "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True",
)  # fmt: skip
START_S, CELL_S = 90, 120
# Notebook 7 logs these for an empty notebook too.
NOT_OURS = ("Cannot read properties of undefined (reading 'schema')", "Command 'filebrowser:open-path' not registered")


def find_chromium() -> str | None:
    """Returns the browser in WORKBENCH_CHROMIUM, else the first on PATH, else None.

    Raises FileNotFoundError if the variable names no program.
    """
    named = os.environ.get("WORKBENCH_CHROMIUM")
    if named and not shutil.which(named):
        raise FileNotFoundError(f"WORKBENCH_CHROMIUM={named} is not a program")
    return named or next(filter(None, map(shutil.which, BROWSERS)), None)


def launch(driver: Playwright) -> Browser:
    """Starts the Chromium of this machine without a window. Raises NotSupported if there is none."""
    path = find_chromium()
    if path is None:
        raise NotSupported("there is no Chromium on PATH", hint="install one, or name it in WORKBENCH_CHROMIUM")
    return driver.chromium.launch(executable_path=path, args=list(BROWSER_ARGS))


class Server:
    """`jupyter lab` on a free port with a token; it serves Notebook 7 too. The user's settings do not apply."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "notebooks"
        self.root.mkdir()
        self.token = secrets.token_hex(16)
        port = free_port(HOST)
        self.url = f"http://{HOST}:{port}"
        own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        own |= {f"JUPYTERLAB_{name}_DIR": str(folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
        env = os.environ | own | {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_TOKEN": self.token}
        quiet = folder / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        quiet.parent.mkdir(parents=True)
        quiet.write_text('{"fetchNews": "false", "checkForUpdates": false, "doNotDisturbMode": true}')
        env.pop("WORKBENCH_CHECK", None)  # a check after every step is not what a user watches
        self.log = folder / "server.log"
        command = [sys.executable, "-m", "jupyterlab", *SERVER_ARGS, f"--port={port}", f"--ServerApp.root_dir={self.root}"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        self._await()

    def api(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"{self.url}/api{path}", method=method, headers={"Authorization": f"token {self.token}"})
        with urllib.request.urlopen(request, timeout=START_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def write(self, name: str, cells: list[str]) -> None:
        """Writes a notebook of code cells."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, self.root / name)

    def stop_kernels(self) -> None:
        for session in self.api("/sessions"):
            self.api(f"/sessions/{session['id']}", "DELETE")

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _await(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                self.api("/status")
                return
            except OSError:
                time.sleep(0.2)
        self.close()
        raise RuntimeError(f"jupyter lab did not start:\n{self.log.read_text()[-2000:]}")


class Notebook:
    """One notebook, open on a page. Keeps what the page logged, asked the network for and got from its kernel."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page, self.server = page, server
        self.console: list[str] = []
        """Errors in the browser's console, and uncaught exceptions, except for the front end's own."""
        self.hosts: Counter[str] = Counter()
        """Requests by host; blobs and data in the page itself do not count."""
        self.sent: dict[str, list[float]] = defaultdict(list)
        """Times (seconds) at which the kernel sent new state, by widget."""
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._on_error(f"{error}\n{error.stack}"))
        page.context.on("request", self._on_request)
        page.on("websocket", self._on_socket)

    def open(self, cells: list[str], *, name: str = "watched.ipynb", face: str = "lab/tree") -> Notebook:
        """Opens a notebook of these cells and returns when its kernel is idle.

        `face` is `lab/tree` for JupyterLab, `notebooks` for Notebook 7.
        """
        self.server.write(name, cells)
        self.page.goto(f"{self.server.url}/{face}/{name}?token={self.server.token}")
        self.page.wait_for_function(IS_READY, arg=len(cells), timeout=START_S * 1000)
        return self

    # -- cells --------------------------------------------------------------------------------------------------

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-Cell-outputArea")

    def view(self, index: int) -> Locator:
        """Returns the live view that a cell returned, once it has drawn itself."""
        view = self.output(index).locator(".wb-live[data-draws]")
        view.first.wait_for(timeout=CELL_S * 1000)
        return view

    def start(self, index: int) -> None:
        """Begins to run a cell, and does not wait for it."""
        self.page.evaluate(START, index)

    def run(self, index: int, *, timeout_s: float = CELL_S) -> str:
        """Runs a cell to its end and returns the text of its output. Raises AssertionError for an error in the cell."""
        self.start(index)
        return self.wait(index, timeout_s=timeout_s)

    def wait(self, index: int, *, timeout_s: float = CELL_S) -> str:
        """Waits until the cell ends and returns the text of its output. Raises AssertionError for an error in the cell."""
        self.page.wait_for_function("index => !window.wbRunning[index]", arg=index, timeout=timeout_s * 1000)
        error = self.page.evaluate(ERROR_OF, index)
        if error:
            raise AssertionError(f"cell {index} failed: {error}")
        return self.output(index).inner_text()

    def is_running(self, index: int) -> bool:
        return bool(self.page.evaluate("index => window.wbRunning[index] === true", index))

    def while_running(self, index: int, condition: str, arg: Any = None, *, timeout_s: float = CELL_S) -> None:
        """Waits until the JavaScript function `condition(arg)` is true; fails when the cell ends before."""
        watch = f"""([index, arg]) => {{
          const runs = window.wbRunning[index];
          return ({condition})(arg) ? (runs ? "seen" : "late") : !runs && "late";
        }}"""
        outcome = self.page.wait_for_function(watch, arg=[index, arg], timeout=timeout_s * 1000)
        assert outcome.json_value() == "seen", f"cell {index} had ended"

    # -- the page ------------------------------------------------------------------------------------------------

    def watch(self, selector: str) -> None:
        """Starts to record the times at which the first element of the selector changes, at most one for each frame."""
        self.page.evaluate(WATCH, selector)

    def changes(self) -> list[float]:
        """Returns the times (seconds) at which the watched element changed."""
        return [ms / 1000 for ms in self.page.evaluate("window.wbChanges")]

    def theme(self, name: str) -> None:
        """Changes JupyterLab's theme to `Light` or `Dark`."""
        self.page.evaluate("name => jupyterapp.commands.execute('apputils:change-theme', {theme: `JupyterLab ${name}`})", name)
        self.page.wait_for_function(HAS_THEME, arg=str(name == "Light").lower())

    # -- the logs -----------------------------------------------------------------------------------------------

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._on_error(f"{message.text} ({message.location.get('url', '')})")

    def _on_error(self, text: str) -> None:
        if not text.startswith(NOT_OURS):
            self.console.append(text)

    def _on_request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("blob", "data"):
            self.hosts[url.hostname or ""] += 1

    def _on_socket(self, socket: WebSocket) -> None:
        self.hosts[urlsplit(socket.url).hostname or ""] += 1
        socket.on("framereceived", self._on_frame)

    def _on_frame(self, frame: str | bytes) -> None:
        """Records updates of widgets. Kernel messages are JSON in an envelope of offsets."""
        data = frame.encode() if isinstance(frame, str) else frame
        if b'"comm_msg"' not in data or b'"update"' not in data:
            return
        comm, sent = re.search(rb'"comm_id": ?"(\w+)"', data), re.search(rb'"date": ?"([^"]+)"', data)
        if comm and sent:
            self.sent[comm[1].decode()].append(datetime.fromisoformat(sent[1].decode()).timestamp())


IS_READY = """count => {
  const panel = window.jupyterapp?.shell?.currentWidget;
  const context = panel?.sessionContext;
  window.wbRunning ??= {};
  return context?.isReady && context.session?.kernel?.status === "idle" && panel.content.widgets.length === count;
}"""
HAS_THEME = "light => document.body.dataset.jpThemeLight === light && !document.getElementById('jupyterlab-splash')"
START = """index => {
  const { content } = jupyterapp.shell.currentWidget;
  content.activeCellIndex = index;
  content.deselectAll();
  window.wbRunning[index] = true;
  jupyterapp.commands.execute("notebook:run-cell").finally(() => { window.wbRunning[index] = false; });
}"""
ERROR_OF = """index => {
  const outputs = jupyterapp.shell.currentWidget.content.widgets[index].model.outputs.toJSON();
  const error = outputs.find(output => output.output_type === "error");
  return error && `${error.ename}: ${error.evalue}`;
}"""
WATCH = """selector => {
  window.wbChanges = [];
  let due = false;
  const seen = () => {
    if (due) return;
    due = true;
    requestAnimationFrame(now => { due = false; window.wbChanges.push(now); });
  };
  const watched = document.querySelector(selector);
  window.wbWatch?.disconnect();
  window.wbWatch = new MutationObserver(seen);
  window.wbWatch.observe(watched, { subtree: true, childList: true, attributes: true, characterData: true });
}"""
