"""One static batch through the model runner: what the arithmetic costs, without scheduler, cache or threads.

Prefill of the whole batch in one step, then one decode step per further token; medians over the decode steps.
--correct prints the logits behind three prompts and the answers to them instead, computed in two chunks and decode steps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.bench.workloads import random_ids
from workbench.config import ServerArgs
from workbench.engine.plan import PlannedSeq, SampleRow, StepPlan
from workbench.errors import InvalidRequest
from workbench.kernels.environment import prepare_libraries
from workbench.types import SamplingParams, Segment

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.engine.plan import Runner
    from workbench.engine.runner import TorchRunner
    from workbench.text.tokenizer import Tokenizer

GREEDY = SamplingParams(temperature=0, ignore_eos=True)
SAYINGS = ("The capital of France is", "The capital of the United Kingdom is", "Today is a sunny day and I like")
NUM_FIRST = 4
"""Tokens of each prompt that --correct computes before the others."""


class StaticBatch:
    """Sequences that start and stop together; sequence i owns pages [i * size, (i + 1) * size)."""

    def __init__(self, runner: Runner, prompts: Sequence[Sequence[int]], max_new: int, page_size: int = 1) -> None:
        self.runner, self.page_size, self.steps = runner, page_size, 0
        self.tokens = [list(prompt) for prompt in prompts]
        self.computed = [0] * len(prompts)
        self.pages_each = pages_for(max(map(len, prompts)) + max_new, page_size)

    def step(self) -> float:
        """Computes every pending token and appends the greedy one; returns seconds."""
        plan = self.plan()
        began = time.perf_counter()
        result = self.runner.execute(plan)
        seconds = time.perf_counter() - began
        self.steps += 1
        for i, done in enumerate(result.seqs):
            self.computed[i] = len(self.tokens[i])
            self.tokens[i].append(done.drawn[0].token_id)
        return seconds

    def plan(self) -> StepPlan:
        """Returns the step that computes every pending token."""
        return StepPlan(self.steps, tuple(map(self._planned, range(len(self.tokens)))), self.page_size)

    def _planned(self, i: int) -> PlannedSeq:
        first = i * self.pages_each
        pages = tuple(range(first, first + pages_for(len(self.tokens[i]), self.page_size)))
        return PlannedSeq(
            seq_id=i,
            rid=str(i),
            token_ids=tuple(self.tokens[i][self.computed[i] :]),
            num_cached=self.computed[i],
            segments=(Segment(0, pages),),
            rows=(SampleRow(GREEDY, seed=0, position=0),),
        )


@dataclass(frozen=True, slots=True)
class Timing:
    """One combination of sizes; throughputs in tokens per second."""

    batch_size: int
    input_len: int
    output_len: int
    prefill_s: float
    median_decode_s: float
    prefill_throughput: float
    decode_throughput: float

    def to_text(self) -> str:
        return (
            f"batch {self.batch_size}, input {self.input_len}, output {self.output_len}: "
            f"prefill {self.prefill_s:.3f} s ({self.prefill_throughput:,.0f} tok/s), "
            f"decode {self.median_decode_s * 1000:.1f} ms a step ({self.decode_throughput:,.0f} tok/s)"
        )


def pages_for(num_tokens: int, page_size: int) -> int:
    return -(-num_tokens // page_size)


def measure(runner: Runner, batch_size: int, input_len: int, output_len: int, page_size: int = 1) -> Timing:
    rng = random.Random(0)
    prompts = [random_ids(rng, input_len, runner.vocab_size) for _ in range(batch_size)]
    batch = StaticBatch(runner, prompts, output_len, page_size)
    prefill_s = batch.step()
    decode_s = statistics.median([batch.step() for _ in range(output_len - 1)] or [float("nan")])
    return Timing(
        batch_size, input_len, output_len, prefill_s, decode_s, batch_size * input_len / prefill_s, batch_size / decode_s
    )


def add_args(parser: argparse.ArgumentParser) -> None:
    ServerArgs.add_cli_args(parser)
    parser.add_argument(
        "--batch-size", type=int, nargs="+", default=[1], help="sequences; several values are tried in turn (default: 1)"
    )
    parser.add_argument("--input-len", type=int, nargs="+", default=[1024], help="prompt tokens of each (default: 1024)")
    parser.add_argument("--output-len", type=int, nargs="+", default=[16], help="new tokens of each (default: 16)")
    parser.add_argument("--correct", action="store_true", help="print logits and answers of three prompts, measure nothing")
    parser.add_argument("--result-filename", type=Path, help="append each result to this file as one JSON line")


def run(args: argparse.Namespace) -> int:
    sizes = list(itertools.product(args.batch_size, args.input_len, args.output_len))
    for name in ("batch_size", "input_len", "output_len"):
        if min(getattr(args, name)) < 1:
            raise InvalidRequest(name, min(getattr(args, name)), "at least 1")
    server_args = ServerArgs.from_cli_args(args)
    page_size = server_args.page_size
    longest = max(
        len(SAYINGS) * (64 + args.output_len[0]) if args.correct else 0, *(b * (i + o + page_size) for b, i, o in sizes)
    )
    runner, tokenizer = open_runner(server_args, longest)
    if args.correct:
        print(say(runner, tokenizer, args.output_len[0], page_size))
        return 0
    measure(runner, 1, 16, 4, page_size)  # warms up
    for batch_size, input_len, output_len in sizes:
        timing = measure(runner, batch_size, input_len, output_len, page_size)
        print(timing.to_text(), flush=True)
        if args.result_filename:
            with args.result_filename.open("a") as file:
                file.write(json.dumps(asdict(timing)) + "\n")
    return 0


def open_runner(args: ServerArgs, num_tokens: int) -> tuple[TorchRunner, Any]:
    """Returns the model with room for `num_tokens`, and its tokenizer, without an engine."""
    prepare_libraries()
    from workbench.launch.runner import load_runner

    loaded = load_runner(args)
    if loaded.runner.kv.num_slots < num_tokens:
        limit = f"at least {num_tokens} for the largest batch asked for"
        raise InvalidRequest("max_total_tokens", loaded.runner.kv.num_slots, limit)
    return loaded.runner, loaded.tokenizer


def say(runner: TorchRunner, tokenizer: Tokenizer, new_tokens: int, page_size: int) -> str:
    """Returns the logits behind the first tokens of three prompts and behind all of them, and the greedy answers."""
    prompts = [list(tokenizer.encode(text)) for text in SAYINGS]
    batch = StaticBatch(runner, prompts, new_tokens, page_size)
    batch.tokens = [prompt[:NUM_FIRST] for prompt in prompts]
    lines = [f"input_ids={prompts}", f"prefill logits (first {NUM_FIRST} tokens): {last_logits(runner, batch.plan())}"]
    batch.tokens, batch.computed = prompts, [min(NUM_FIRST, len(prompt)) for prompt in prompts]
    lines.append(f"prefill logits (final): {last_logits(runner, batch.plan())}")
    for _ in range(new_tokens):
        batch.step()
    for i, ids in enumerate(batch.tokens):
        lines += [f"\n========== Prompt {i} ==========", tokenizer.decode(ids)]
    return "\n".join(lines)


def last_logits(runner: TorchRunner, plan: StepPlan) -> Tensor:
    """Returns the logits behind each sequence [N, V]. Changes: the K/V of the plan's tokens is computed."""
    import torch

    from workbench.engine.runner import step_tensors

    with torch.inference_mode():
        step = step_tensors(plan, runner.device, runner.kv)
        hidden = runner.forward(step)
        return runner.model.logits(hidden[[span.start + span.num_new - 1 for span in step.spans]]).float()
