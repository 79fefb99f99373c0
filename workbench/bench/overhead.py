"""Measures the work around the model: importing the package, recording events, and a busy cell beside the engine."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from workbench.bench.report import Rows, add_row_args, markdown_table, run_rows
from workbench.bench.workloads import Workload
from workbench.config import ServerArgs
from workbench.events import StepExecuted

DECODE = Workload("decode", num_prompts=8, own_len=16, new_tokens=64)
STREAMS = (1, 8, 32)
IMPORTS = {
    "python alone": "pass",
    "import workbench": "import workbench",
    "import workbench.magics": "import workbench.magics",
}


def add_args(parser: argparse.ArgumentParser) -> None:
    add_row_args(parser, ROWS)


def run(args: argparse.Namespace) -> int:
    return run_rows(args, ROWS)


def import_time(server_args: ServerArgs, rounds: int) -> str:
    """Measures a fresh interpreter, empty and with the import."""
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(rounds):
        for name, code in IMPORTS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    bare = medians["python alone"]
    rows = [[name, f"{median * 1000:.0f} ms", f"{(median - bare) * 1000:.0f} ms"] for name, median in medians.items()]
    return markdown_table(["interpreter that does", "takes", "more than alone"], rows)


def recording(server_args: ServerArgs, rounds: int) -> str:
    """Measures decoding with and without the event log, on two engines in one process that take turns."""
    import workbench

    options = server_args.to_dict()
    with workbench.Engine(**options) as on, workbench.Engine(**{**options, "event_log_size": 0}) as off:
        seconds = taking_turns([lambda seed: decode(on, seed), lambda seed: decode(off, seed)], rounds)
    cost = statistics.median(a / b for a, b in zip(*seconds, strict=True)) - 1
    rows = [
        [name, f"{DECODE.figure(statistics.median(values)):,.0f}"] for name, values in zip(("on", "off"), seconds, strict=True)
    ]
    return markdown_table(["recording", "tok/s, 8 streams"], [*rows, ["cost of recording (median of pairs)", f"{cost:+.1%}"]])


def busy_cell(server_args: ServerArgs, rounds: int) -> str:
    """Measures decoding while the main thread waits, and while it runs pure Python; engine in a thread and in a child."""
    import workbench

    options = server_args.to_dict()
    kinds: dict[str, Callable[[int], float]] = {}
    with workbench.Engine(**options) as thread, workbench.Engine(**options, process=True) as child:
        for name, engine in {"thread": thread, "process": child}.items():
            kinds[f"in a {name}, the cell waits"] = partial(decode, engine)
            kinds[f"in a {name}, the cell computes"] = partial(beside, spin, engine)
        figures = [DECODE.figure(statistics.median(values)) for values in taking_turns(list(kinds.values()), rounds)]
    rows = [[name, f"{figure:,.0f}", f"{figure / figures[0]:.2f}×"] for name, figure in zip(kinds, figures, strict=True)]
    return markdown_table(["engine", "tok/s, 8 streams", "of the first"], rows)


def step_parts(server_args: ServerArgs, rounds: int) -> str:
    """Measures the parts of a decode step of 1, 8 and 32 streams: medians of the engine's own times."""
    import workbench

    rows = []
    with workbench.Engine(**server_args.to_dict()) as engine, sampling_times() as sampled:
        for num in STREAMS:
            workload = replace(DECODE, num_prompts=num)
            for seed in range(rounds + 1):
                decode(engine, seed, workload)
            steps = [event for event in engine.log.read()[1] if isinstance(event, StepExecuted)]
            steps = [one for one in steps if len(one.members) == num and all(m.kind == "decode" for m in one.members)]
            rows.append(step_row(num, steps[-rounds * workload.new_tokens // 2 :], sampled))
    return markdown_table(["streams", "plan", "model", "sample", "commit", "deliver", "step (ms)", "not the model"], rows)


def step_row(num_streams: int, steps: Sequence[StepExecuted], sampled: Sequence[float]) -> list[str]:
    """Returns the medians of the parts in milliseconds: of the steps, and of as many last times of the sampler."""

    def ms(seconds: Iterable[float]) -> float:
        return 1000 * statistics.median(seconds)

    plan, execute, commit = ms(s.plan_s for s in steps), ms(s.execute_s for s in steps), ms(s.commit_s for s in steps)
    whole, sample = ms(b.time - a.time for a, b in pairwise(steps)), ms(sampled[-len(steps) :])
    deliver = max(0.0, whole - plan - execute - commit)
    model = execute - sample
    parts = [f"{value:.2f}" for value in (plan, model, sample, commit, deliver, whole)]
    return [str(num_streams), *parts, f"{whole - model:.2f} ms, {(whole - model) / whole:.1%}"]


@contextmanager
def sampling_times() -> Iterator[list[float]]:
    """Yields a list that gets the seconds of every call of the sampler while the block runs."""
    from workbench.engine.sampler import Sampler

    seconds: list[float] = []
    plain = Sampler.sample

    def timed(*args: Any, **more: Any) -> Any:
        began = time.perf_counter()
        try:
            return plain(*args, **more)
        finally:
            seconds.append(time.perf_counter() - began)

    Sampler.sample = timed  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        Sampler.sample = plain  # type: ignore[method-assign]


ROWS: Rows = {"import": import_time, "recording": recording, "busy": busy_cell, "step": step_parts}


def taking_turns(measure: Sequence[Callable[[int], float]], rounds: int) -> list[list[float]]:
    """Returns the seconds of each kind, in rounds whose order alternates; the first round warms up and is dropped."""
    seconds: list[list[float]] = [[] for _ in measure]
    for number in range(rounds + 1):
        order = range(len(measure)) if number % 2 else reversed(range(len(measure)))
        for i in order:
            taken = measure[i](number)
            if number:
                seconds[i].append(taken)
    return seconds


def decode(engine: Any, seed: int, workload: Workload = DECODE) -> float:
    """Returns the seconds of one batch of short prompts with a long answer."""
    params = {"temperature": 0, "max_new_tokens": workload.new_tokens, "ignore_eos": True}
    prompts = workload.prompts(engine.get_server_info()["vocab_size"], seed)
    began = time.perf_counter()
    engine.generate(input_ids=prompts, sampling_params=params)
    return time.perf_counter() - began


def beside(work: Callable[[threading.Event], None], engine: Any, seed: int) -> float:
    """Runs `decode` on a helper thread while this one does `work` until the event is set."""
    done = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as helper:
        seconds = helper.submit(decode, engine, seed)
        seconds.add_done_callback(lambda _: done.set())
        work(done)
    return seconds.result()


def spin(done: threading.Event) -> None:
    total = 0
    while not done.is_set():
        for i in range(1000):
            total += i * i
