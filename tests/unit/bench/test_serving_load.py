"""Loads on a stand-in for a server, and their numbers beside numpy's."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from workbench.bench.serving_client import Job, Outcome
from workbench.bench.serving_load import Arrivals, converse, percentile, send, summary, to_text


class Counting:
    """A target that answers `1`, `2`, ... and counts what is open."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.num_open = self.most_open = 0

    async def measure(self, job: Job) -> Outcome:
        self.jobs.append(job)
        self.num_open += 1
        self.most_open = max(self.most_open, self.num_open)
        for _ in range(50):  # longer than the others take to be sent
            await asyncio.sleep(0)
        self.num_open -= 1
        return Outcome(text=str(len(self.jobs)), output_tokens=job.new_tokens)


@pytest.mark.parametrize("limit, most", [(None, 9), (3, 3), (1, 1)])
def test_at_most_the_limit_is_open(limit, most):
    target, jobs = Counting(), [Job(new_tokens=i) for i in range(9)]
    outcomes = asyncio.run(send(target, jobs, Arrivals(max_concurrency=limit)))
    assert [outcome.output_tokens for outcome in outcomes] == list(range(9))
    assert target.most_open == most


def test_requests_of_a_rate_arrive_as_a_poisson_process(monkeypatch):
    """The waits are those of the seed, whatever the requests take."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr("workbench.bench.serving_load.time.perf_counter", lambda: 0.0)
    asyncio.run(send(Counting(), [Job()] * 2001, Arrivals(rate=4.0, seed=5)))
    arrivals = [wait for wait in waits if wait]
    gaps = np.diff([0.0, *arrivals])
    assert len(gaps) == 2000
    assert np.mean(gaps) == pytest.approx(1 / 4, rel=0.1)
    assert np.std(gaps) == pytest.approx(1 / 4, rel=0.1)


def test_a_turn_repeats_the_chat_with_its_answers():
    target = Counting()
    asyncio.run(converse(target, [["be brief", "one", "two"]] * 2, 7, Arrivals(max_concurrency=1)))
    first, second, *_ = ([(each["role"], each["content"]) for each in job.messages] for job in target.jobs)
    assert first == [("system", "be brief"), ("user", "one")]
    assert second == [*first, ("assistant", "1"), ("user", "two")]
    assert (len(target.jobs), target.most_open) == (4, 1)


def test_failures_are_counted_and_not_timed():
    good = Outcome(ttft=1.0, latency=2.0, prompt_tokens=6, output_tokens=11, gaps=[0.25, 0.75])
    numbers = summary([Outcome(error="x"), good], 4.0)
    assert (numbers["completed"], numbers["failed"], numbers["request_throughput"]) == (1, 1, 0.25)
    assert (numbers["output_throughput"], numbers["total_throughput"], numbers["concurrency"]) == (2.75, 4.25, 0.5)
    assert (numbers["p99_ttft_ms"], numbers["mean_tpot_ms"], numbers["mean_itl_ms"], numbers["std_itl_ms"]) == (
        1000,
        100,
        500,
        250,
    )
    assert "Failed requests:                         1" in to_text("vllm", 2.0, None, numbers)


def test_percentiles_are_numpys():
    values = list(np.random.default_rng(0).random(57))
    for percent in (50, 90, 99):
        assert percentile(values, percent) == pytest.approx(np.percentile(values, percent))
