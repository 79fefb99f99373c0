"""Measures how the cost of a step grows: with the streams that it decodes, the length of a context, the nodes of the radix tree.

Decode steps are the model runner's, over K/V of random numbers, since their time does not depend on what is read. Positions
beyond those of the model are allowed for the same reason. Planning is a real engine's, with a full pool and the fake runner.
All are medians in milliseconds over rounds that take turns, with the quartiles beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.bench.cache import FAN_OUT, full_core, steps
from workbench.bench.one_batch import GREEDY, open_runner, pages_for
from workbench.bench.report import machine, markdown_table
from workbench.config import ServerArgs
from workbench.engine.plan import PlannedSeq, SampleRow, StepPlan
from workbench.errors import InvalidRequest
from workbench.events import StepExecuted
from workbench.html.line_chart import Axis, line_chart, ticks_from_zero
from workbench.kernels.compiled import kernels
from workbench.types import Segment

if TYPE_CHECKING:
    from workbench.engine.runner import TorchRunner

STEPS = 4
"""Steps of a measurement; the first warms up and is not counted."""
REQUESTS = 200
"""Requests that a tree is planned for."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of a step at one size."""

    size: int
    median_ms: float
    low_ms: float
    high_ms: float
    """The first and the third quartile."""

    @classmethod
    def of(cls, size: int, seconds: Sequence[float]) -> Cost:
        low, middle, high = (1000 * second for second in statistics.quantiles(seconds, n=4))
        return cls(size, middle, low, high)


@dataclass(frozen=True)
class Growth:
    """Costs along one axis, by the names of their lines."""

    title: str
    axis: str
    costs: dict[str, list[Cost]]

    def to_markdown(self) -> str:
        sizes = [cost.size for cost in next(iter(self.costs.values()))]
        rows = [
            [f"{size:,}", *(f"{c[i].median_ms:.3g} ({c[i].low_ms:.3g} to {c[i].high_ms:.3g})" for c in self.costs.values())]
            for i, size in enumerate(sizes)
        ]
        return markdown_table([self.axis, *(f"{name}, ms" for name in self.costs)], rows)

    def to_svg(self) -> str:
        lines = {name: [(float(c.size), c.median_ms) for c in costs] for name, costs in self.costs.items()}
        ends = [cost.size for cost in next(iter(self.costs.values()))]
        highest = max(y for points in lines.values() for _, y in points)
        return line_chart(
            self.title, Axis(self.axis, ends, is_log=True), Axis("milliseconds", ticks_from_zero(highest)), lines
        )  # fmt: skip


def add_args(parser: argparse.ArgumentParser) -> None:
    ServerArgs.add_cli_args(parser)
    add = parser.add_argument
    add("--streams", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], help="streams of a step, each with --stream-context")
    add("--stream-context", type=int, default=128, help="tokens of each stream's context (default: 128)")
    contexts = [128, 256, 512, 1024, 2048, 4096, 8192, 16_384]
    add("--contexts", type=int, nargs="+", default=contexts, help="tokens of the context of a stream alone")
    add("--nodes", type=int, nargs="+", default=[10, 100, 1000, 10_000, 100_000], help="nodes of the radix tree, at least 9")
    add("--rounds", type=int, default=15, help="measurements of each size (default: 15)")
    add("--output", type=Path, metavar="FOLDER", help="also write growth.json and a chart of each axis to this folder")


def run(args: argparse.Namespace) -> int:
    for name in ("streams", "contexts", "nodes"):
        if len(set(getattr(args, name))) < 2:
            raise InvalidRequest(name, len(set(getattr(args, name))), "at least 2 sizes, or nothing grows")
    if min(args.nodes) <= FAN_OUT:
        raise InvalidRequest("nodes", min(args.nodes), f"at least {1 + FAN_OUT}: a shared page and its leaves")
    server_args = ServerArgs.from_cli_args(args)
    found = {**decoding(args, server_args), "nodes": planning(sorted(args.nodes))}
    for growth in found.values():
        print(growth.to_markdown(), end="\n\n")
    facts = {"machine": machine(), "kernels": kernels.status(), "model": str(server_args.model_path), "dtype": dtype(server_args)}
    print(f"{facts['machine']} Kernels {facts['kernels']}; {facts['model']} in {facts['dtype']}.")
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(facts | {name: asdict(growth) for name, growth in found.items()}, indent=1)
        (args.output / "growth.json").write_text(text + "\n")
        for name, growth in found.items():
            (args.output / f"growth-{name}.svg").write_text(growth.to_svg() + "\n")
    return 0


def dtype(server_args: ServerArgs) -> str:
    """Returns the number type in which the model runs."""
    from workbench.launch.place import Hardware, name_of  # with torch

    return name_of(Hardware.of(server_args).dtype)


class Decoding:
    """Streams in the middle of their answers: each has a node of the tree for its context, and pages of its own behind it."""

    def __init__(self, runner: TorchRunner, num_streams: int, context: int, page_size: int) -> None:
        self.runner, self.page_size, self.num_done = runner, page_size, 0
        per_node, per_answer = pages_for(context, page_size), pages_for(STEPS, page_size)
        starts = [i * (per_node + per_answer) for i in range(num_streams)]
        self.nodes = [Segment(i + 1, tuple(range(start, start + per_node))) for i, start in enumerate(starts)]
        self.answers = [tuple(range(start + per_node, start + per_node + per_answer)) for start in starts]

    def step(self) -> float:
        """Computes a token of each stream and returns the seconds."""
        plan = StepPlan(self.num_done, tuple(map(self._planned, range(len(self.nodes)))), self.page_size)
        began = time.perf_counter()
        self.runner.execute(plan)
        self.num_done += 1
        return time.perf_counter() - began

    def _planned(self, i: int) -> PlannedSeq:
        pages = self.answers[i][: pages_for(self.num_done + 1, self.page_size)]
        return PlannedSeq(
            seq_id=i, rid=str(i), token_ids=(i % self.runner.vocab_size,),
            num_cached=len(self.nodes[i].pages) * self.page_size + self.num_done, segments=(self.nodes[i], Segment(0, pages)),
            rows=(SampleRow(GREEDY, seed=0, position=self.num_done + 1),),
        )  # fmt: skip


def decoding(args: argparse.Namespace, server_args: ServerArgs) -> dict[str, Growth]:
    """Measures decode steps by the number of streams, and by the length of the context of one."""
    streams, contexts, page_size = sorted(set(args.streams)), sorted(set(args.contexts)), server_args.page_size
    sizes = {("streams", n): (n, args.stream_context) for n in streams} | {("contexts", n): (1, n) for n in contexts}
    longest = max(context for _, context in sizes.values()) + STEPS + page_size
    room = max(n * (context + STEPS + 2 * page_size) for n, context in sizes.values())
    override = json.dumps({"max_position_embeddings": longest} | json.loads(server_args.json_model_override_args))
    size = server_args.max_total_tokens or room
    runner, _ = open_runner(dataclasses.replace(server_args, json_model_override_args=override, max_total_tokens=size), room)
    if runner.model.max_positions < longest:
        raise InvalidRequest("contexts", longest, f"at most {runner.model.max_positions}, the positions of this model")
    fill(runner, room)
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in sizes}
    for number in range(args.rounds):
        order = list(sizes)
        for key in order if number % 2 else reversed(order):
            num_streams, context = sizes[key]
            batch = Decoding(runner, num_streams, context, page_size)
            seconds[key] += [batch.step() for _ in range(STEPS)][1:]
    costs = {axis: [Cost.of(n, seconds[axis, n]) for n in all_sizes] for axis, all_sizes in
             {"streams": streams, "contexts": contexts}.items()}  # fmt: skip
    return {
        "streams": Growth(
            "A decode step by its streams", f"streams, {args.stream_context} tokens each", {"step": costs["streams"]}
        ),
        "contexts": Growth("A decode step by its context", "tokens of one stream's context", {"step": costs["contexts"]}),
    }


def fill(runner: TorchRunner, num_slots: int) -> None:
    """Changes: the first slots of all layers hold random K/V."""
    import torch

    for spec in runner.model.attention_specs():
        for start in range(0, num_slots, 1024):
            slots = torch.arange(start, min(start + 1024, num_slots), device=runner.device)
            k, v = runner.kv.read(spec.layer, slots)
            runner.kv.write(spec.layer, slots, torch.randn_like(k), torch.randn_like(v))


def planning(sizes: Sequence[int]) -> Growth:
    """Measures how long a step is planned, with every page of the pool in the tree: admitting a request evicts for it."""
    costs: dict[str, list[Cost]] = {"admits a request": [], "decodes": []}
    for num_nodes in sizes:
        rng = random.Random(num_nodes)
        core, _ = full_core(num_nodes, rng)
        num_stored, first = core.cache.num_nodes, core.log.num_added
        steps(core, REQUESTS, rng)
        planned = [event for event in core.log.read(first)[1] if isinstance(event, StepExecuted)]
        for name, kind in (("admits a request", "prefill"), ("decodes", "decode")):
            seconds = [event.plan_s for event in planned if event.members[0].kind == kind]
            costs[name].append(Cost.of(num_stored, seconds))
    return Growth("Planning a step by the nodes of the radix tree", "nodes", costs)
