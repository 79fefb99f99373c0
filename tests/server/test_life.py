"""The life of a server's processes: faults, restarts, the end. Each test has a server of its own, with a tiny model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import httpx
import psutil
import pytest

from workbench.model.tiny import write_config

pytestmark = pytest.mark.process
ENDLESS = {"input_ids": [1, 2, 3], "sampling_params": {"max_new_tokens": 100_000, "ignore_eos": True}, "stream": True}
SHORT = {"input_ids": [1, 2, 3], "sampling_params": {"max_new_tokens": 4, "ignore_eos": True}}
ARGS = [
    "--load-format", "dummy", "--skip-tokenizer-init", "--dtype", "float32", "--max-total-tokens", "200000", "--num-threads", "1",
    "--json-model-override-args", json.dumps({"max_position_embeddings": 150_000}),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_config(tmp_path_factory.mktemp("model")))


@pytest.fixture
def start(folder, server_process):
    started = []

    def begin(*more):
        started.append(server_process("--model-path", folder, *ARGS, *more))
        return started[-1]

    yield begin
    for server in started:
        server.close()


def engine_of(server):
    """Returns the engine's process."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    return next(child for child in children if "workbench.process.main" in child.cmdline())


def until(condition, timeout_s=90.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def status(server, path="/health"):
    return httpx.get(f"{server.url}{path}", timeout=60).status_code


class Reader(threading.Thread):
    """A client that reads a stream to its end."""

    def __init__(self, server, body=ENDLESS):
        super().__init__()
        self.lines, self.error = [], None
        self._server, self._body = server, body
        self.begun = threading.Event()
        self.start()

    def run(self):
        try:
            with httpx.stream("POST", f"{self._server.url}/generate", json=self._body, timeout=60) as answer:
                for line in answer.iter_lines():
                    self.lines += [line] if line else []
                    self.begun.set()
        except httpx.TransportError as error:
            self.error = error


def test_a_killed_engine_gives_its_requests_an_error_and_another_takes_its_place(start):
    server = start("--max-restarts", "1")
    reader = Reader(server)
    assert reader.begun.wait(60)
    first = engine_of(server)
    first.kill()
    reader.join(60)
    assert json.loads(reader.lines[-1].removeprefix("data: "))["error"]["code"] == "engine_unavailable"
    assert until(lambda: status(server) == 200)
    assert httpx.post(f"{server.url}/generate", json=SHORT, timeout=60).json()["meta_info"]["completion_tokens"] == 4
    engine_of(server).kill()
    assert until(lambda: status(server) == 503), "the limit of restarts is reached"
    answer = httpx.post(f"{server.url}/generate", json=SHORT, timeout=60)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_a_stopped_engine_is_not_healthy_and_the_watchdog_replaces_it(start):
    server = start("--watchdog-timeout", "3")
    stopped = engine_of(server)
    os.kill(stopped.pid, signal.SIGSTOP)
    assert status(server) == 503
    assert until(lambda: status(server) == 200 and engine_of(server).pid != stopped.pid)
    assert not psutil.pid_exists(stopped.pid)
    assert httpx.post(f"{server.url}/generate", json=SHORT, timeout=60).status_code == 200


def test_a_killed_server_leaves_no_engine_and_its_port_is_free(start, folder, server_process):
    server = start()
    reader = Reader(server)
    assert reader.begun.wait(60)
    children = psutil.Process(server.process.pid).children(recursive=True)
    server.process.kill()
    reader.join(60)
    _, alive = psutil.wait_procs(children, 60)
    assert alive == []
    again = start("--port", str(server.port))
    assert httpx.post(f"http://127.0.0.1:{server.port}/generate", json=SHORT, timeout=60).status_code == 200
    again.url = server.url


def test_a_signal_to_end_lets_running_requests_finish_and_refuses_new_ones(start):
    server = start("--drain-timeout-s", "120")
    body = ENDLESS | {"sampling_params": {"max_new_tokens": 1000, "ignore_eos": True}}
    reader = Reader(server, body)
    assert reader.begun.wait(60)
    server.process.terminate()
    while (refused := httpx.post(f"{server.url}/generate", json=SHORT, timeout=60)).is_success:
        time.sleep(0.01)  # the signal is on its way
    reader.join(120)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert reader.lines[-1] == "data: [DONE]"
    assert json.loads(reader.lines[-2].removeprefix("data: "))["meta_info"]["completion_tokens"] == 1000
    assert server.process.wait(60) == 0


def test_requests_that_outlast_the_limit_end_with_an_answer(start):
    server = start("--drain-timeout-s", "0.5")
    reader = Reader(server)
    assert reader.begun.wait(60)
    server.process.terminate()
    reader.join(60)
    assert (reader.error, "error" in json.loads(reader.lines[-1].removeprefix("data: "))) == (None, True)
    assert server.process.wait(60) == 0


def test_a_used_port_is_refused_at_once(start):
    server = start()
    command = [sys.executable, "-m", "workbench", "serve", "no-such-model", "--port", str(server.port)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, "port" in result.stderr, "no-such-model" in result.stderr) == (2, True, False)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slots(start, stream):
    server = start()
    with (
        suppress(httpx.ReadTimeout),
        httpx.stream("POST", f"{server.url}/generate", json=ENDLESS | {"stream": stream}, timeout=0.5),
    ):
        assert stream
        assert httpx.get(f"{server.url}/get_load").json()["num_running"] == 1
    assert until(lambda: httpx.get(f"{server.url}/get_load").json()["num_running"] == 0)
