"""A soak: clients that stream, leave, abort and send nonsense. Afterwards nothing runs, and no memory or file is lost.

`make soak` runs it for ten minutes; WORKBENCH_SOAK_S sets its seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from contextlib import suppress

import httpx
import psutil
import pytest

from workbench.model.tiny import write_config

pytestmark = pytest.mark.process
SECONDS = float(os.environ.get("WORKBENCH_SOAK_S", "16"))
WARM_UP = 0.4
"""Part of the time after which memory is measured first: caches and logs are full by then."""
MORE_MEMORY = 1.05 if SECONDS >= 300 else 1.15
"""Allowed growth of memory from then on. A short run still fills the allocator's and the interpreter's own pools."""
MOST_ROUNDS = 4
NUM_CLIENTS = 64
NUM_TOKENS = 20_000
ARGS = [
    "--load-format", "dummy", "--skip-tokenizer-init", "--dtype", "float32", "--num-threads", "1", "--event-log-size", "2000",
    "--max-total-tokens", str(NUM_TOKENS), "--max-running-requests", "16", "--max-queued-requests", "48", "--max-body-mb", "1",
]  # fmt: skip
BROKEN = [b"", b"{", b"[]", b"null", b"\xff\xfe{}", b'{"input_ids": [1,', b'{"input_ids": NaN}', b"[" * 50_000]


@pytest.fixture(scope="module")
def server(tmp_path_factory, server_process):
    started = server_process("--model-path", str(write_config(tmp_path_factory.mktemp("model"))), *ARGS)
    yield started
    started.close()


class Clients:
    """Clients of every kind, and what each of their calls came to."""

    def __init__(self, server):
        self._server = server
        self.http = httpx.AsyncClient(base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=200))
        self.random = random.Random(0)
        self.answers = Counter()
        self.kinds = [
            self.completes, self.streams, self.leaves_a_stream, self.leaves_an_answer, self.aborts, self.sends_what_is_broken,
            self.sends_too_much, self.hangs_up,
        ]  # fmt: skip

    def body(self, new_tokens, **more):
        prompt = [self.random.randrange(1, 250) for _ in range(self.random.choice((3, 40, 300)))]
        return {"input_ids": prompt, "sampling_params": {"max_new_tokens": new_tokens, "ignore_eos": True}, **more}

    async def run_until(self, deadline):
        while time.monotonic() < deadline:
            await self.random.choice(self.kinds)()

    async def completes(self):
        answer = await self.http.post("/generate", json=self.body(8))
        self.answers["completed", answer.status_code] += 1
        if answer.status_code == 200:
            assert answer.json()["meta_info"]["completion_tokens"] == 8
        else:
            assert (answer.status_code, "retry-after" in answer.headers) == (429, True), answer.text
            await asyncio.sleep(0.05)

    async def streams(self):
        async with self.http.stream("POST", "/generate", json=self.body(12, stream=True)) as answer:
            lines = [line async for line in answer.aiter_lines() if line]
        self.answers["streamed", answer.status_code] += 1
        if answer.status_code == 200:
            assert lines[-1] == "data: [DONE]"
            assert json.loads(lines[-2].removeprefix("data: "))["meta_info"]["completion_tokens"] == 12

    async def leaves_a_stream(self):
        async with self.http.stream("POST", "/generate", json=self.body(150, stream=True)) as answer:
            num_lines = self.random.randrange(6)
            async for line in answer.aiter_lines():
                num_lines -= bool(line)
                if num_lines < 0:
                    break
        self.answers["left a stream", answer.status_code] += 1

    async def leaves_an_answer(self):
        with suppress(httpx.ReadTimeout):
            timeout = httpx.Timeout(30, read=self.random.choice((0.001, 0.02, 0.2)))
            await self.http.post("/generate", json=self.body(150), timeout=timeout)
        self.answers["left an answer", 0] += 1

    async def aborts(self):
        rid = f"{self.random.getrandbits(60):x}"
        answer = asyncio.ensure_future(self.http.post("/generate", json=self.body(150, rid=rid)))
        await asyncio.sleep(self.random.choice((0, 0.01, 0.1)))
        _, answer = await asyncio.gather(self.http.post("/abort_request", json={"rid": rid}), answer)
        self.answers["aborted", answer.status_code] += 1

    async def sends_what_is_broken(self):
        answer = await self.http.post("/generate", content=self.random.choice(BROKEN))
        assert (answer.status_code, set(answer.json())) == (400, {"error"}), answer.text
        self.answers["broken", 400] += 1

    async def sends_too_much(self):
        with suppress(httpx.WriteError, httpx.ReadError):  # the answer came before all was sent
            answer = await self.http.post("/generate", content=b" " * 1_100_000)
            assert answer.status_code == 413
        self.answers["too much", 413] += 1

    async def hangs_up(self):
        _, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        body = json.dumps(self.body(150)).encode()
        head = b"POST /generate HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n" % len(body)
        whole = head + body
        writer.write(whole[: self.random.choice((0, 10, len(head), len(head) + 20, len(whole)))])
        await asyncio.sleep(self.random.choice((0, 0.01)))
        writer.transport.abort()
        self.answers["hung up", 0] += 1


def processes(server):
    process = psutil.Process(server.process.pid)
    return [process, *process.children(recursive=True)]


def memory(server):
    return sum(process.memory_info().rss for process in processes(server))


def num_files(server):
    return [process.num_fds() for process in processes(server)]


async def idle(http, timeout_s=60):
    """Returns the load as soon as nothing runs or waits."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        load = (await http.get("/get_load")).json()
        if load["num_running"] == load["num_waiting"] == 0:
            return load
        await asyncio.sleep(0.05)
    raise AssertionError(f"requests are left: {load}")


async def soak(server):
    """Returns the answers, and (memory, load) after warming up and after each round.

    Another round follows on one that took more memory: a leak takes more in each, a pool that fills does so once.
    """
    clients, states = Clients(server), []
    async with clients.http as http:
        while len(states) < 2 or (grew(states) and len(states) < 1 + MOST_ROUNDS):
            deadline = time.monotonic() + SECONDS * (1 - WARM_UP if states else WARM_UP)
            async with asyncio.TaskGroup() as group:
                for _ in range(NUM_CLIENTS):
                    group.create_task(clients.run_until(deadline))
            await idle(http)
            await http.post("/flush_cache")
            states.append((memory(server), (await idle(http))))
    return clients.answers, states


def grew(states):
    return states[-1][0] >= MORE_MEMORY * states[-2][0]


def holds_no_more_files(server, files):
    now = num_files(server)
    return len(now) == len(files) and all(open_now <= before for open_now, before in zip(now, files, strict=True))


@pytest.mark.timeout(MOST_ROUNDS * (SECONDS + 120))
def test_a_soak_leaves_nothing_behind(server):
    files = num_files(server)
    answers, states = asyncio.run(soak(server))
    load = states[-1][1]
    print(dict(answers), [memory for memory, _ in states])
    assert {kind for kind, _ in answers} >= {"completed", "streamed", "left a stream", "aborted", "broken", "hung up"}
    assert answers["completed", 200], answers
    assert answers["streamed", 200], answers
    assert load["tokens_free"] == NUM_TOKENS, load
    assert not grew(states), [memory for memory, _ in states]
    assert "Traceback" not in server.output()
    assert httpx.get(f"{server.url}/health").status_code == 200
    deadline = time.monotonic() + 60
    while not holds_no_more_files(server, files):  # connections that the clients left are still being closed
        assert time.monotonic() < deadline, (files, num_files(server))
        time.sleep(0.1)
