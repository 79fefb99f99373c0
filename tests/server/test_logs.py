"""The log of a real server process: progress, requests, and what is never in it."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection

import httpx
import pytest
from byte_model import write_byte_model

pytestmark = pytest.mark.process
KEY = "a-very-secret-key"
LINES = {
    "prefill": r"Prefill batch\. #new-seq: \d+, #new-token: \d+, #cached-token: \d+, cache hit rate: [\d.]+%, "
    r"token usage: [01]\.\d\d, #running-req: \d+, #queue-req: \d+",
    "decode": r"Decode batch\. #running-req: \d+, #token: \d+, token usage: [01]\.\d\d, gen throughput \(token/s\): [\d.]+, "
    r"#queue-req: \d+",
    "retraction": r"decode out of memory happened, #retracted_reqs: \d+, #new_token_ratio: [\d.]{6} -> [\d.]{6}",
}
STAMP = r"\[\d{4}-\d\d-\d\d [\d:,]+\] "
GREEDY = {"temperature": 0, "max_new_tokens": 4, "ignore_eos": True}


def start(server_process, tmp_path_factory, *args):
    folder = write_byte_model(tmp_path_factory.mktemp("model"), 2048)
    small = ("--max-total-tokens", "2000", "--schedule-conservativeness", "0.01", "--max-running-requests", "4")
    return server_process("--model-path", str(folder), "--load-format", "dummy", *small, *args)


@pytest.fixture(scope="module")
def server(server_process, tmp_path_factory):
    logging = ("--log-level", "debug", "--log-requests", "--decode-log-interval", "5", "--max-queued-requests", "2")
    started = start(server_process, tmp_path_factory, *logging, "--api-key", KEY, "--admin-api-key", "adm1n")
    yield started
    started.close()


@pytest.fixture(scope="module")
def http(server):
    with httpx.Client(base_url=server.url, timeout=60, headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client


def written(server, pattern, count=1, timeout_s=60):
    """Returns the lines of the log that match, once there are as many as expected."""
    deadline = time.monotonic() + timeout_s
    while len(found := re.findall(pattern, server.output(), re.MULTILINE)) < count:
        assert time.monotonic() < deadline, (pattern, server.output()[-3000:])
        time.sleep(0.05)
    return found


def test_the_server_is_ready_in_the_words_of_the_reference(server, http):
    assert "The server is fired up and ready to roll!" in server.output()


def test_prefills_decodes_and_retractions_have_the_lines_of_the_reference(server, http):
    body = {"input_ids": [5] * 60, "sampling_params": {"max_new_tokens": 600, "ignore_eos": True}}
    with ThreadPoolExecutor(4) as pool:
        bodies = [body | {"input_ids": [5 + i] * 60} for i in range(4)]
        answers = list(pool.map(lambda each: http.post("/generate", json=each), bodies))
    assert [answer.status_code for answer in answers] == [200] * 4
    for pattern in LINES.values():
        assert written(server, f"^{STAMP}{pattern}$")


@pytest.mark.parametrize(("path", "body"), [
    ("/generate", {"text": "native one", "sampling_params": GREEDY}),
    ("/generate", {"text": "native stream", "sampling_params": GREEDY, "stream": True}),
    ("/v1/completions", {"prompt": "completed one", "max_tokens": 4, "ignore_eos": True}),
    ("/v1/completions", {"prompt": "completed stream", "max_tokens": 4, "ignore_eos": True, "stream": True}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "chat one"}], "max_tokens": 4, "ignore_eos": True}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "chat stream"}], "max_tokens": 4, "ignore_eos": True,
                              "stream": True}),
    ("/v1/messages", {"messages": [{"role": "user", "content": "message one"}], "max_tokens": 4}),
    ("/api/generate", {"model": "m", "prompt": "raw one", "raw": True, "options": {"num_predict": 4}, "stream": False}),
])  # fmt: skip
def test_a_request_has_one_line_at_its_end_with_input_and_output(server, http, path, body):
    assert http.post(path, json=body).status_code == 200
    words = re.search(r"'(\w+ one|\w+ stream)'", str(body))[1]
    (line,) = written(server, rf"^{STAMP}request \S+: \d+ tokens in, \d+ out, \w+, in='[^']*{words}.*$")
    assert re.search(r"out=(['\"]).*\1, SamplingParams\(", line)
    time.sleep(0.1)
    assert server.output().count(words) == 1


def test_a_request_whose_client_leaves_is_logged_with_what_it_had(server, http):
    body = {"text": "leaver", "sampling_params": {"max_new_tokens": 1500, "ignore_eos": True}, "stream": True}
    with http.stream("POST", "/generate", json=body) as answer:
        next(answer.iter_lines())
    (line,) = written(server, rf"^{STAMP}request \S+: 6 tokens in, .*leaver.*$")
    assert int(re.search(r"(\d+) out, cut off", line)[1]) < 1500
    more = {"max_new_tokens": 1500, "ignore_eos": True}
    hasty = HTTPConnection("127.0.0.1", server.port)
    hasty.request("POST", "/generate", json.dumps({"text": "hasty", "sampling_params": more}), {"authorization": f"Bearer {KEY}"})
    while not http.get("/get_load").json()["num_running"]:
        time.sleep(0.01)
    hasty.close()
    (line,) = written(server, rf"^{STAMP}request \S+: 5 tokens in, .*hasty.*$")
    assert int(re.search(r"(\d+) out, cut off", line)[1]) < 1500


def test_requests_of_http_are_in_the_log_and_keys_are_not(server, http):
    http.get("/get_server_info")
    http.get("/v1/models", headers={"authorization": "Bearer wrong-key"})
    http.post("/flush_cache", headers={"x-api-key": "adm1n"})
    assert written(server, r'"GET /get_server_info HTTP/1.1" 200')
    assert not re.search(f"{KEY}|adm1n|wrong-key", server.output())


def test_a_full_queue_leaves_the_server_healthy(server, http):
    body = {"text": "x", "sampling_params": {"max_new_tokens": 1900, "ignore_eos": True}}
    with ExitStack() as streams:
        for _ in range(6):
            streams.enter_context(http.stream("POST", "/generate", json=body | {"stream": True}))
        full = http.post("/generate", json=body)
        assert (full.status_code, full.headers["retry-after"]) == (429, "1")
        assert [http.get(path).status_code for path in ("/health", "/health_generate")] == [200, 200]
        assert http.post("/generate", json=body).status_code == 429, "it was full all the time"


def test_a_quiet_server_writes_nothing_but_that_it_is_ready(server_process, tmp_path_factory):
    quiet = start(server_process, tmp_path_factory, "--log-level", "error", "--log-requests", "--log-level-http", "info")
    httpx.post(f"{quiet.url}/generate", json={"text": "a", "sampling_params": GREEDY}, timeout=60)
    lines, of_http = [], []
    for line in quiet.output().splitlines():
        (of_http if line.startswith("INFO: ") else lines).append(line)
    quiet.close()
    assert any('"POST /generate HTTP/1.1" 200' in line for line in of_http)
    assert lines == [f"The server is fired up and ready to roll! {quiet.url}"]
