"""Servers in processes of their own, shared by the tests of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import httpx
import pytest

from workbench.server.ports import free_port


class ServerProcess:
    """A running `python -m workbench.launch_server`, or another program with its arguments. `url` is its address."""

    def __init__(self, *args: str, program: Sequence[str] = ("-m", "workbench.launch_server")) -> None:
        self.port = int(args[args.index("--port") + 1]) if "--port" in args else free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, *program, "--port", str(self.port), *args]
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe that is not read stops the server when it is full
        self.process = subprocess.Popen(command, stdout=self._output, stderr=subprocess.STDOUT, env={**os.environ})
        self.wait()

    def wait(self, timeout_s: float = 120) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/health", timeout=10).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        self.process.kill()
        raise AssertionError(f"the server did not start: {self.output()}")

    def output(self) -> str:
        """Returns what the server has written so far."""
        self._output.seek(0)
        return self._output.read().decode()

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self._output.close()


@pytest.fixture(scope="session")
def server_process() -> type[ServerProcess]:
    return ServerProcess


REAL = ("--model-path", "smollm2-135m", "--dtype", "float32", "--max-total-tokens", "30000", "--tool-call-parser", "hermes")
"""Arguments of a server of the real model. In float32 a text does not depend on how much of its prompt was cached."""


@pytest.fixture(scope="session")
def real_server(smollm2: str) -> Iterator[ServerProcess]:
    """A server of the real model."""
    server = ServerProcess(*REAL)
    yield server
    server.close()
