"""Measures a running server under load: throughput, and percentiles of the times of its clients.

Any server of the native or of OpenAI's API can be measured, so that two of them can be compared on the same prompts. One short
request warms up; before each measurement the cache of a server of ours, or of the reference, is emptied.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from workbench.bench.serving_args import add_args as add_args
from workbench.bench.serving_args import base_url, check, extra_body, rates
from workbench.bench.serving_client import BACKENDS, Job, Outcome, Target, call, served_model, served_tokenizer
from workbench.bench.serving_data import make_chats, random_jobs, shared_prefix_jobs, sharegpt_jobs
from workbench.bench.serving_load import ALL_AT_ONCE, Arrivals, converse, send, summary, to_text
from workbench.errors import BackendFailed

Load: TypeAlias = Callable[[], Coroutine[Any, Any, list[Outcome]]]
WARM_UP_TOKENS = 32
ARGUMENTS = (
    "backend", "dataset_name", "max_concurrency", "sharegpt_output_len", "random_input_len", "random_output_len",
    "random_range_ratio",
)  # fmt: skip
"""Options that stand beside the numbers in the output file."""


def run(args: argparse.Namespace) -> int:
    """Runs the load; returns 1 if a request failed."""
    check(args)
    url = base_url(args)
    target = Target(
        url, BACKENDS[args.backend], args.model or served_model(url), not args.disable_ignore_eos, args.temperature,
        not args.disable_stream, extra_body(args),
    )  # fmt: skip
    chats = make_chats(random.Random(args.seed), args.num_chats, args.num_turns, args.system_len, args.turn_len)
    is_chats = args.dataset_name == "multi-turn"
    jobs = [Job([], [{"role": "user", "content": chats[0][1]}], args.turn_output_len)] if is_chats else _jobs(args, url)
    _warm_up(target, jobs[0])
    failed = False
    for rate in rates(args):
        arrivals = Arrivals(rate, args.max_concurrency, args.seed)
        if is_chats:
            load = partial(converse, target, chats, args.turn_output_len, arrivals)
        else:
            load = partial(send, target, jobs, arrivals)
        outcomes, seconds = _measured(load, url, args)
        numbers = summary(outcomes, seconds)
        print(to_text(args.backend, rate, args.max_concurrency, numbers), flush=True)
        for error in sorted({outcome.error for outcome in outcomes if outcome.error})[:3]:
            print(f"failed: {error}")
            failed = True
        if args.output_file:
            settings = {name: getattr(args, name) for name in ARGUMENTS} | {"request_rate": rate if rate < ALL_AT_ONCE else "inf"}
            with args.output_file.open("a") as file:
                file.write(json.dumps(settings | numbers) + "\n")
    return int(failed)


def _measured(load: Load, url: str, args: argparse.Namespace) -> tuple[list[Outcome], float]:
    if args.backend.startswith(("workbench", "sglang")):
        call(url, "/flush_cache", b"")
    if args.profile:
        call(url, "/start_profile", b"")
    began = time.perf_counter()
    outcomes = asyncio.run(load())
    seconds = time.perf_counter() - began
    if args.profile:
        print(f"trace: {call(url, '/stop_profile', b'').decode().strip()}")
    return outcomes, seconds


def _warm_up(target: Target, job: Job) -> None:
    short = Job(job.input_ids, job.messages, min(job.new_tokens, WARM_UP_TOKENS))
    if error := asyncio.run(target.measure(short)).error:
        raise BackendFailed(f"the first request failed. {error}", hint="give options that the server takes")


def _jobs(args: argparse.Namespace, url: str) -> list[Job]:
    rng = random.Random(args.seed)
    if args.dataset_name == "random":
        return random_jobs(args, rng, args.vocab_size)
    if args.dataset_name == "generated-shared-prefix":
        return shared_prefix_jobs(args, rng, args.vocab_size)
    tokenizer = args.tokenizer or served_tokenizer(url)
    return sharegpt_jobs(
        args.dataset_path, tokenizer, args.num_prompts, args.sharegpt_output_len, rng, context_len=args.sharegpt_context_len,
        is_templated=args.apply_chat_template,
    )  # fmt: skip
