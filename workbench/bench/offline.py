"""Offline throughput: many random prompts at once through an `Engine`, with all its flags.

--profile writes a trace of the measured run, for Perfetto, into the folder WORKBENCH_TORCH_PROFILER_DIR.
--families measures small seeded models of several kinds beside transformers instead.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.bench.workloads import random_ids
from workbench.config import ServerArgs, profile_folder
from workbench.errors import InvalidRequest
from workbench.kernels.environment import prepare_libraries


@dataclass(frozen=True, slots=True)
class Job:
    """One request of the data set."""

    input_ids: list[int]
    new_tokens: int


@dataclass(frozen=True, slots=True)
class Throughput:
    """The tokens and seconds of a run."""

    num_requests: int
    seconds: float
    input_tokens: int
    cached_tokens: int
    output_tokens: int

    def to_text(self) -> str:
        rows = {
            "Successful requests": f"{self.num_requests}",
            "Benchmark duration (s)": f"{self.seconds:.2f}",
            "Total input tokens": f"{self.input_tokens}",
            "  of these reused from the cache": f"{self.cached_tokens}",
            "Total generated tokens": f"{self.output_tokens}",
            "Request throughput (req/s)": f"{self.num_requests / self.seconds:.2f}",
            "Input token throughput (tok/s)": f"{self.input_tokens / self.seconds:.2f}",
            "Output token throughput (tok/s)": f"{self.output_tokens / self.seconds:.2f}",
            "Total token throughput (tok/s)": f"{(self.input_tokens + self.output_tokens) / self.seconds:.2f}",
        }
        return "\n".join(f"{name + ':':<40}{value:>12}" for name, value in rows.items())


def add_args(parser: argparse.ArgumentParser) -> None:
    ServerArgs.add_cli_args(parser)
    parser.add_argument("--num-prompts", type=int, default=100, help="requests (default: 100)")
    parser.add_argument("--dataset-name", choices=["random"], default="random", help="random: random token ids, nothing shared")
    parser.add_argument("--random-input-len", type=int, default=256, help="longest prompt in tokens (default: 256)")
    parser.add_argument("--random-output-len", type=int, default=64, help="most generated tokens (default: 64)")
    parser.add_argument(
        "--random-range-ratio",
        type=float,
        default=0.0,
        help="shortest length as a fraction of the longest; 1 makes all equal (default: 0)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the data set (default: 1)")
    parser.add_argument("--disable-ignore-eos", action="store_true", help="let the model stop early")
    parser.add_argument("--skip-warmup", action="store_true", help="measure the first run")
    parser.add_argument("--profile", action="store_true", help="write a torch profiler trace of the measured run")
    parser.add_argument(
        "--families",
        nargs="*",
        metavar="KIND",
        help="measure seeded models of 100 M weights beside transformers; default: all",
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of --families (default: 5)")
    parser.add_argument("--result-filename", type=Path, help="append the result to this file as one JSON line")


def run(args: argparse.Namespace) -> int:
    import workbench

    server_args, trace = ServerArgs.from_cli_args(args), trace_file(args.profile)
    if args.families is not None:
        return _run_families(args, server_args)
    with workbench.Engine(**server_args.to_dict()) as engine:
        vocab_size = engine.get_server_info()["vocab_size"]
        jobs = random_jobs(args, vocab_size)
        if not args.skip_warmup:
            measure(engine, [Job(random_ids(random.Random(0), 16, vocab_size), 4)], ignore_eos=True)
        with profiled(trace):
            result = measure(engine, jobs, ignore_eos=not args.disable_ignore_eos)
    print(result.to_text())
    if args.result_filename:
        with args.result_filename.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
    return 0


def _run_families(args: argparse.Namespace, server_args: ServerArgs) -> int:
    prepare_libraries()
    from workbench.bench.families import KINDS, kinds_table  # imports transformers

    unknown = sorted(set(args.families) - KINDS.keys())
    if unknown:
        raise InvalidRequest("families", unknown[0], f"one of {', '.join(KINDS)}")
    if args.rounds < 1:
        raise InvalidRequest("rounds", args.rounds, "at least 1")
    print(kinds_table(args.families or list(KINDS), server_args, args.rounds))
    return 0


def random_jobs(args: argparse.Namespace, vocab_size: int) -> list[Job]:
    """Draws lengths uniformly between `ratio * longest` (at least 1) and the longest."""
    for name in ("num_prompts", "random_input_len", "random_output_len"):
        if getattr(args, name) < 1:
            raise InvalidRequest(name, getattr(args, name), "at least 1")
    if not 0 <= args.random_range_ratio <= 1:
        raise InvalidRequest("random_range_ratio", args.random_range_ratio, "between 0 and 1")
    rng = random.Random(args.seed)

    def length(longest: int) -> int:
        return rng.randint(max(1, int(longest * args.random_range_ratio)), longest)

    return [
        Job(random_ids(rng, length(args.random_input_len), vocab_size), length(args.random_output_len))
        for _ in range(args.num_prompts)
    ]


def measure(engine: Any, jobs: list[Job], *, ignore_eos: bool) -> Throughput:
    """Sends all jobs at once and waits for the last."""
    params = [{"temperature": 0, "max_new_tokens": job.new_tokens, "ignore_eos": ignore_eos} for job in jobs]
    began = time.perf_counter()
    results = engine.generate(input_ids=[job.input_ids for job in jobs], sampling_params=params)
    seconds = time.perf_counter() - began
    infos = [result["meta_info"] for result in results]
    total = {name: sum(info[name] for info in infos) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")}
    return Throughput(len(results), seconds, total["prompt_tokens"], total["cached_tokens"], total["completion_tokens"])


def trace_file(wanted: bool) -> Path | None:
    """Returns the path of the trace. Called before the model is loaded, so that a missing folder is found at once."""
    if not wanted:
        return None
    folder = Path(profile_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"offline-{time.strftime('%Y%m%d-%H%M%S')}.trace.json.gz"


@contextlib.contextmanager
def profiled(path: Path | None) -> Iterator[None]:
    """Traces all threads (the engine has its own) and writes the trace at the end of the block."""
    if path is None:
        yield
        return
    from torch._C._profiler import _ExperimentalConfig
    from torch.profiler import profile, supported_activities

    with profile(activities=supported_activities(), experimental_config=_ExperimentalConfig(profile_all_threads=True)) as trace:
        yield
    trace.export_chrome_trace(str(path))
    print(f"trace: {path}", file=sys.stderr)
