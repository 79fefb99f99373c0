"""One batch of random prompts through a server's `/generate`: the one at --base-url, or one that is started for it.

The whole batch is one streamed request. The first tokens count as there when every prompt has one.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.bench.serving_client import auth_headers, call
from workbench.bench.timed_post import lines, post
from workbench.bench.workloads import random_ids
from workbench.config import ServerArgs
from workbench.errors import BackendFailed, InvalidRequest

VOCAB_SIZE = 16384
"""Limit of the random tokens for a server that does not report its vocabulary."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One combination of sizes; times in seconds, throughputs in tokens per second."""

    run_name: str
    batch_size: int
    input_len: int
    output_len: int
    latency: float
    ttft: float
    """Time until every prompt has its first token."""
    input_throughput: float
    """Prompt tokens over `ttft`."""
    output_throughput: float
    """New tokens over `latency`."""
    overall_throughput: float
    """All tokens over `latency`."""

    @classmethod
    def of(cls, run_name: str, sizes: tuple[int, int, int], latency: float, ttft: float) -> Timing:
        batch, input_len, output_len = sizes
        return cls(
            run_name, *sizes, round(latency, 4), round(ttft, 4), round(batch * input_len / ttft, 2),
            round(batch * output_len / latency, 2), round(batch * (input_len + output_len) / latency, 2),
        )  # fmt: skip

    def to_text(self) -> str:
        rows = {
            "batch size": self.batch_size, "input length": self.input_len, "output length": self.output_len,
            "latency": f"{self.latency:.2f} s", "ttft": f"{self.ttft:.2f} s",
            "input throughput": f"{self.input_throughput:.2f} token/s",
            "output throughput": f"{self.output_throughput:.2f} token/s",
            "(input + output) throughput": f"{self.overall_throughput:.2f} token/s",
        }  # fmt: skip
        return "\n".join(f"{name}: {value}" for name, value in rows.items())


def add_args(parser: argparse.ArgumentParser) -> None:
    ServerArgs.add_cli_args(parser)
    add = parser.add_argument
    add("--run-name", default="default", help="name in the results (default: default)")
    add("--batch-size", "--batch", type=int, nargs="+", default=[1], help="prompts; several values in turn (default: 1)")
    add("--input-len", "--input", type=int, nargs="+", default=[1024], help="prompt tokens of each (default: 1024)")
    add("--output-len", "--output", type=int, nargs="+", default=[16], help="new tokens of each (default: 16)")
    add("--base-url", default="", help="address of a running server (default: start one with the options given)")
    add("--skip-warmup", action="store_true", help="measure the first batch")
    add("--result-filename", type=Path, default=Path("result.jsonl"), help="append each result here (default: result.jsonl)")


def run(args: argparse.Namespace) -> int:
    sizes = list(itertools.product(args.batch_size, args.input_len, args.output_len))
    for name in ("batch_size", "input_len", "output_len"):
        if min(getattr(args, name)) < 1:
            raise InvalidRequest(name, min(getattr(args, name)), "at least 1")
    with nullcontext(args.base_url) if args.base_url else _started(args) as url:
        vocab_size, rng = int(json.loads(call(url, "/get_server_info")).get("vocab_size", VOCAB_SIZE)), random.Random(0)
        if not args.skip_warmup:
            measure(url, "warm-up", (1, 16, 4), vocab_size, rng)
        for each in sizes:
            timing = measure(url, args.run_name, each, vocab_size, rng)
            print(timing.to_text(), flush=True)
            with args.result_filename.open("a") as file:
                file.write(json.dumps(asdict(timing)) + "\n")
    print(f"\nResults are saved to {args.result_filename}")
    return 0


def measure(url: str, run_name: str, sizes: tuple[int, int, int], vocab_size: int, rng: random.Random) -> Timing:
    """Returns the times of one batch. Raises BackendFailed if an answer is missing, or shorter than asked for."""
    batch, input_len, output_len = sizes
    prompts = [random_ids(rng, input_len, vocab_size) for _ in range(batch)]
    params = {"temperature": 0, "max_new_tokens": output_len, "ignore_eos": True}
    body = json.dumps({"input_ids": prompts, "sampling_params": params, "stream": True}).encode()
    began = time.perf_counter()
    reads = asyncio.run(post(url, "/generate", body, auth_headers()))
    first: dict[int, float] = {}
    tokens: dict[int, int] = {}
    last = began
    for at, line in lines(reads):
        if line.startswith(b"data: {"):
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise BackendFailed(f"the batch failed: {chunk['error']}")
            first.setdefault(chunk.get("index", 0), at)
            tokens[chunk.get("index", 0)], last = chunk["meta_info"]["completion_tokens"], at
    if list(tokens.values()) != [output_len] * batch:
        raise BackendFailed(f"the server made {sorted(tokens.values())} tokens instead of {batch} × {output_len}")
    return Timing.of(run_name, sizes, last - began, max(first.values()) - began)


def _started(args: argparse.Namespace) -> Any:
    from workbench.bench.started import started

    return started(ServerArgs.from_cli_args(args))
