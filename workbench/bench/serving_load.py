"""Loads of the serving benchmarks, and the numbers of a run."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence

from workbench.bench.serving_client import Job, Outcome, Target

ALL_AT_ONCE = float("inf")


async def send(
    target: Target, jobs: Sequence[Job], rng: random.Random, rate: float = ALL_AT_ONCE, max_concurrency: int | None = None
) -> list[Outcome]:
    """Sends all jobs, as a Poisson process of `rate` requests per second, with at most `max_concurrency` open."""
    limit = asyncio.Semaphore(max_concurrency or max(len(jobs), 1))
    begun, due = time.perf_counter(), 0.0

    async def one(job: Job) -> Outcome:
        async with limit:
            return await target.measure(job)

    tasks = []
    for job in jobs:
        await asyncio.sleep(max(begun + due - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(one(job)))
        due += 0 if rate == ALL_AT_ONCE else rng.expovariate(rate)
    return list(await asyncio.gather(*tasks))


async def converse(target: Target, all_turns: Sequence[Sequence[str]], new_tokens: int) -> list[Outcome]:
    """Runs all chats at once; each sends its next turn when the answer to the last one is whole."""

    async def chat(turns: Sequence[str]) -> list[Outcome]:
        messages, outcomes = [{"role": "system", "content": turns[0]}], list[Outcome]()
        for turn in turns[1:]:
            messages.append({"role": "user", "content": turn})
            outcomes.append(await target.measure(Job([], list(messages), new_tokens)))
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
