"""Helpers that programs written for the reference import from `utils`."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from typing import Any

from workbench.errors import BackendFailed
from workbench.server.ports import free_port

POLL_S = 0.1
END_S = 40.0
"""Seconds that a server has to end by itself; then it is killed."""


def stream_and_merge(llm: Any, prompt: str, sampling_params: Mapping[str, Any] | None = None) -> str:
    """Returns the whole text of one streamed generation. The text of each chunk repeats the text before it."""
    text = ""
    for chunk in llm.generate(prompt, sampling_params, stream=True):
        text += _new_text(text, chunk["text"])
    return text


async def async_stream_and_merge(llm: Any, prompt: str, sampling_params: Mapping[str, Any] | None = None) -> AsyncIterator[str]:
    """Yields the new text of each chunk of one streamed generation; joined, the pieces are the whole text."""
    text = ""
    async for chunk in await llm.async_generate(prompt, sampling_params, stream=True):
        piece = _new_text(text, chunk["text"])
        text += piece
        if piece:
            yield piece


def _new_text(text: str, chunk: str) -> str:
    """Returns what `chunk` adds to `text`: a chunk may repeat all of it (as this engine does), its end, or nothing."""
    if chunk.startswith(text):
        return chunk[len(text) :]
    overlap = next((n for n in range(min(len(text), len(chunk)), 0, -1) if text.endswith(chunk[:n])), 0)
    return chunk[overlap:]


def execute_shell_command(command: str) -> subprocess.Popen[bytes]:
    """Starts a command, which may be written over several lines with backslashes, and returns its process.

    `python` is this interpreter. The process has a group of its own, so that `terminate_process` ends its children too.
    """
    words = shlex.split(command.replace("\\\n", " "))
    if words[:1] in (["python"], ["python3"]):
        words[0] = sys.executable
    return subprocess.Popen(words, start_new_session=True)


def launch_server_cmd(command: str, host: str = "127.0.0.1", port: int | None = None) -> tuple[subprocess.Popen[bytes], int]:
    """Starts a server on a free port; returns its process and the port. `wait_for_server` waits until it is ready."""
    chosen = port or free_port(host)
    return execute_shell_command(f"{command.strip()} --host {host} --port {chosen}"), chosen


def wait_for_server(base_url: str, timeout: float | None = None, process: subprocess.Popen[bytes] | None = None) -> None:
    """Returns when a server is ready. Raises BackendFailed after `timeout` seconds, or when `process` has ended before."""
    begun = time.monotonic()
    while not _is_ready(base_url):
        if process is not None and process.poll() is not None:
            raise BackendFailed(
                f"the server of {base_url} ended with exit code {process.returncode}", hint="its output has the reason"
            )
        if timeout is not None and time.monotonic() - begun > timeout:
            raise BackendFailed(f"{base_url} is not ready after {timeout:g} s", hint="give a longer timeout=")
        time.sleep(POLL_S)


def terminate_process(process: subprocess.Popen[bytes], port: int | None = None) -> None:
    """Ends a process and its children, which may finish running requests first. May be called twice; `port` is not needed."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def print_highlight(text: object) -> None:
    """Prints a text in bold: as HTML in a notebook, else as it is."""
    from workbench.html.escape import to_html

    try:
        from IPython import get_ipython
        from IPython.display import HTML, display
    except ImportError:
        print(text)
        return
    if getattr(get_ipython(), "kernel", None) is None:  # no shell, or one in a terminal
        print(text)
    else:
        display(HTML(f"<strong>{to_html(str(text))}</strong>"))


def is_in_ci() -> bool:
    """Returns whether SGLANG_IS_IN_CI or CI is set to true."""
    return any(os.environ.get(name, "").lower() in ("true", "1") for name in ("SGLANG_IS_IN_CI", "CI"))


def _is_ready(base_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base_url.rstrip('/')}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
