"""Loads of the serving benchmarks, and the numbers of a run."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from workbench.bench.serving_client import Job, Outcome, Target

ALL_AT_ONCE = float("inf")
Numbers = dict[str, float]
T = TypeVar("T")
KINDS = ("mean", "median", "p90", "p99")
WORDS = {
    "Successful requests": "completed", "Failed requests": "failed", "Benchmark duration (s)": "duration",
    "Total input tokens": "total_input_tokens", "Total cached tokens": "total_cached_tokens",
    "Total generated tokens": "total_output_tokens", "Request throughput (req/s)": "request_throughput",
    "Input token throughput (tok/s)": "input_throughput", "Output token throughput (tok/s)": "output_throughput",
    "Total token throughput (tok/s)": "total_throughput", "Concurrency": "concurrency",
}  # fmt: skip
TIMES = {
    "End-to-End Latency": ("E2E Latency", "e2e_latency"), "Time to First Token": ("TTFT", "ttft"),
    "Time per Output Token (excl. 1st token)": ("TPOT", "tpot"), "Inter-token Latency": ("ITL", "itl"),
}  # fmt: skip


@dataclass(frozen=True)
class Arrivals:
    """The times at which requests, or chats, begin: a Poisson process of `rate` a second, with at most `max_concurrency` open."""

    rate: float = ALL_AT_ONCE
    max_concurrency: int | None = None
    seed: int = 0

    async def run(self, calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """Returns the results of the calls, in their order."""
        limit, rng = asyncio.Semaphore(self.max_concurrency or max(len(calls), 1)), random.Random(self.seed)
        begun, due = time.perf_counter(), 0.0

        async def one(call: Callable[[], Awaitable[T]]) -> T:
            async with limit:
                return await call()

        tasks = []
        for call in calls:
            await asyncio.sleep(max(begun + due - time.perf_counter(), 0))
            tasks.append(asyncio.create_task(one(call)))
            due += 0 if self.rate == ALL_AT_ONCE else rng.expovariate(self.rate)
        return list(await asyncio.gather(*tasks))


async def send(target: Target, jobs: Sequence[Job], arrivals: Arrivals) -> list[Outcome]:
    """Sends all jobs as they arrive."""
    return await arrivals.run([partial(target.measure, job) for job in jobs])


async def converse(target: Target, chats: Sequence[Sequence[str]], new_tokens: int, arrivals: Arrivals) -> list[Outcome]:
    """Runs all chats as they arrive; each sends its next turn when the answer to the last one is whole."""

    async def chat(turns: Sequence[str]) -> list[Outcome]:
        messages, outcomes = [{"role": "system", "content": turns[0]}], list[Outcome]()
        for turn in turns[1:]:
            messages.append({"role": "user", "content": turn})
            outcomes.append(await target.measure(Job([], list(messages), new_tokens)))
            messages.append({"role": "assistant", "content": outcomes[-1].text})
        return outcomes

    return [outcome for each in await arrivals.run([partial(chat, turns) for turns in chats]) for outcome in each]


def summary(outcomes: Sequence[Outcome], seconds: float) -> Numbers:
    """Returns the numbers of a run under the reference's names, and a few more."""
    good = [outcome for outcome in outcomes if not outcome.error]
    num_input, num_output = sum(one.prompt_tokens for one in good), sum(one.output_tokens for one in good)
    numbers: Numbers = {
        "duration": seconds, "completed": len(good), "failed": len(outcomes) - len(good),
        "total_input_tokens": num_input, "total_cached_tokens": sum(one.cached_tokens for one in good),
        "total_output_tokens": num_output, "request_throughput": len(good) / seconds,
        "input_throughput": num_input / seconds, "output_throughput": num_output / seconds,
        "total_throughput": (num_input + num_output) / seconds, "concurrency": sum(one.latency for one in good) / seconds,
    }  # fmt: skip
    times = {
        "e2e_latency": [one.latency for one in good], "ttft": [one.ttft for one in good],
        "tpot": [(one.latency - one.ttft) / (one.output_tokens - 1) for one in good if one.output_tokens > 1],
        "itl": [gap for one in good for gap in one.gaps],
    }  # fmt: skip
    for name, values in times.items():
        numbers |= {
            f"mean_{name}_ms": 1e3 * statistics.fmean(values or [0]), f"median_{name}_ms": 1e3 * percentile(values, 50),
            f"std_{name}_ms": 1e3 * statistics.pstdev(values or [0]), f"p90_{name}_ms": 1e3 * percentile(values, 90),
            f"p99_{name}_ms": 1e3 * percentile(values, 99),
        }  # fmt: skip
    return numbers


def to_text(backend: str, rate: float, max_concurrency: int | None, numbers: Numbers) -> str:
    """Returns the numbers in lines, with the reference's words where it has them."""
    head = {"Backend": backend, "Traffic request rate": rate, "Max request concurrency": max_concurrency or "not set"}
    lines = [f"{' Serving Benchmark Result ':=^50}", *(_line(name, value) for name, value in head.items())]
    for name, key in WORDS.items():
        lines.append(_line(name, f"{numbers[key]:.2f}" if "(" in name or name == "Concurrency" else numbers[key]))
    for title, (word, key) in TIMES.items():
        lines.append(f"{title:-^50}")
        lines += [_line(f"{kind.capitalize()} {word} (ms)", f"{numbers[f'{kind}_{key}_ms']:.2f}") for kind in KINDS]
    return "\n".join([*lines, "=" * 50])


def _line(name: str, value: object) -> str:
    return f"{name + ':':<40} {value}"


def percentile(values: Sequence[float], percent: int) -> float:
    """Returns the percentile of the values, between its neighbours in proportion; 0 of none."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
