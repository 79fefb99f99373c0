"""Measures what HTTP adds to an engine: to the first token and each later one of a stream, and to many open streams.

A server and an engine in a child process of this one, both with the same settings, take turns with the same prompts. The client
of many streams shares the machine's cores with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workbench.bench.overhead import taking_turns
from workbench.bench.report import Rows, add_row_args, markdown_table, run_rows, spread
from workbench.bench.started import started
from workbench.bench.workloads import Workload
from workbench.config import ServerArgs
from workbench.errors import EngineDead

ONE = Workload("http one", num_prompts=1, own_len=16, new_tokens=64)
MANY = Workload("http many", num_prompts=1000, own_len=16, new_tokens=16)
Times = tuple[float, float]
"""Seconds to the first token, and per later one."""


def add_args(parser: argparse.ArgumentParser) -> None:
    add_row_args(parser, ROWS)


def run(args: argparse.Namespace) -> int:
    return run_rows(args, ROWS)


def latency(server_args: ServerArgs, rounds: int) -> str:
    """Measures one stream alone."""
    with both(server_args) as (engine, port):
        vocab_size = engine.get_server_info()["vocab_size"]
        times: tuple[list[Times], list[Times]] = ([], [])

        def here(seed: int) -> float:
            times[0].append(times_of(chunks_here(engine, ONE.prompts(vocab_size, seed)[0])))
            return sum(times[0][-1])

        def there(seed: int) -> float:
            times[1].append(times_of(chunks_there(port, ONE.prompts(vocab_size, seed)[0])))
            return sum(times[1][-1])

        taking_turns([here, there], rounds)
    rows = []
    for i, name in enumerate(("first token", "each later token")):
        own, http_ = ([each[i] * 1000 for each in kind[1:]] for kind in times)
        added = statistics.median(b - a for a, b in zip(own, http_, strict=True))
        rows.append([name, f"{statistics.median(own):.2f} ms", f"{statistics.median(http_):.2f} ms", f"{added:+.2f} ms"])
    return markdown_table(["one stream", "engine", "HTTP", "HTTP adds (median of pairs)"], rows)


def streams(server_args: ServerArgs, rounds: int) -> str:
    """Measures many streams that are open at once."""
    with both(server_args) as (engine, port):
        vocab_size = engine.get_server_info()["vocab_size"]

        def here(seed: int) -> float:
            began = time.perf_counter()
            for _ in engine.generate(input_ids=MANY.prompts(vocab_size, seed), sampling_params=params(MANY), stream=True):
                pass
            return time.perf_counter() - began

        def there(seed: int) -> float:
            bodies = [body(MANY, prompt) for prompt in MANY.prompts(vocab_size, seed)]
            began = time.perf_counter()
            asyncio.run(read_all(port, bodies))
            return time.perf_counter() - began

        own, http_ = taking_turns([here, there], rounds)
    rows = [[name, f"{MANY.figure(statistics.median(values)):,.0f}"] for name, values in (("engine", own), ("HTTP", http_))]
    table = [*rows, ["HTTP takes longer by (median of pairs, quartiles)", spread(http_, own)]]
    return markdown_table([f"{MANY.num_prompts:,} open streams", "tok/s"], table)


ROWS: Rows = {"latency": latency, "streams": streams}


@contextmanager
def both(server_args: ServerArgs) -> Iterator[tuple[Any, int]]:
    """Opens an engine and a server with the same settings; returns the engine and the server's port."""
    import workbench

    with started(server_args) as url, workbench.Engine(**server_args.to_dict(), process=True) as engine:
        yield engine, int(url.rpartition(":")[2])


def params(work: Workload) -> dict[str, Any]:
    return {"temperature": 0, "max_new_tokens": work.new_tokens, "ignore_eos": True}


def body(work: Workload, prompt: list[int]) -> bytes:
    return json.dumps({"input_ids": prompt, "sampling_params": params(work), "stream": True}).encode()


def times_of(chunks: Iterator[Any]) -> Times:
    """Returns the times of a stream. It begins with the first call of its generator."""
    began = time.perf_counter()
    at = [time.perf_counter() for _ in chunks]
    return at[0] - began, (at[-1] - at[0]) / (len(at) - 1)


def chunks_here(engine: Any, prompt: list[int]) -> Iterator[Any]:
    yield from engine.generate(input_ids=prompt, sampling_params=params(ONE), stream=True)


def chunks_there(port: int, prompt: list[int]) -> Iterator[bytes]:
    """Yields the events of one stream, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/generate", body(ONE, prompt))
    with connection.getresponse() as answer:
        while line := answer.readline():
            if line.startswith(b"data: {"):
                yield line
    connection.close()


async def read_all(port: int, bodies: list[bytes]) -> None:
    """Reads all streams at once to their ends."""
    await asyncio.gather(*(_read(port, each) for each in bodies))


async def _read(port: int, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /generate HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(sent) + sent)
    answer = await reader.read(-1)
    writer.close()
    if b"[DONE]" not in answer:
        raise EngineDead(f"a stream ended early: {answer[-200:].decode('utf-8', 'replace')}")
