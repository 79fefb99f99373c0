"""`make bench-peers`: this engine beside what a user would pick instead, in one run on one machine.

Each system lives in a process of its own; only one works at a time. In every round every system does every workload on
the same prompts, in an order that rotates, so that a slow spell of the machine falls on all. Reported are medians over
the rounds, and their ratio to transformers. A peer in another environment is named by the path of its python in
WORKBENCH_PEER_VLLM, WORKBENCH_PEER_OPENVINO or WORKBENCH_PEER_LLAMACPP.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from workbench.bench import commands, overhead
from workbench.bench.limits import Limits
from workbench.bench.programs import JOBS, RECORDS, Job, Records
from workbench.bench.report import machine, markdown_table
from workbench.bench.workloads import WORKLOADS, Workload
from workbench.config import DEFAULT_MODEL, ServerArgs, home
from workbench.errors import InvalidRequest, WorkbenchError
from workbench.hub import find as hub

SCRIPTS = Path(__file__).parent / "peer_scripts"
PEERS = {
    "workbench": None,
    "stepwise": None,
    "transformers": None,
    "vllm": "WORKBENCH_PEER_VLLM",
    "openvino": "WORKBENCH_PEER_OPENVINO",
    "llamacpp": "WORKBENCH_PEER_LLAMACPP",
}
BASELINE = "transformers"
FOR_TOKENS = ("workbench", "transformers", "vllm", "openvino", "llamacpp")
FOR_PROGRAMS = ("workbench", "transformers", "vllm")
FOR_RECORDS = ("workbench", "stepwise", "vllm", "llamacpp")
"""Systems whose script can do the work."""
LIMITED = (WORKLOADS[0], WORKLOADS[3])
"""The stream that reads memory, and the prefill."""
PROGRAMS = "Programs here, independent requests elsewhere (transformers: one by one).\n\n"
RECORDS_SAY = "Records of seven fields, at most 160 tokens each, all valid (llama.cpp: one by one).\n\n"


class PeerFailed(WorkbenchError):
    """A system under test ended, or did not produce the tokens it was asked for."""


@dataclass
class Peer:
    """One system in its own process, and what was measured of it."""

    name: str
    process: subprocess.Popen[str]
    version: str = ""
    ready_s: float = 0.0
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def start(cls, name: str, settings: dict[str, Any], *, log: Path) -> Peer:
        """Spawns the system and waits for the first token; `ready_s` counts from the spawn."""
        variable = PEERS[name]
        if variable and variable not in os.environ:
            raise PeerFailed(f"{variable} is not set", hint=f"name the python of the environment that has {name} in it")
        python = os.environ[variable] if variable else sys.executable
        env = {**os.environ, "OMP_NUM_THREADS": str(settings["threads"]), "HF_HUB_OFFLINE": "1"}
        began = time.perf_counter()
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [python, str(SCRIPTS / f"run_{name}.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=env,
                start_new_session=True,
            )
        peer = cls(name, process)
        try:
            peer.version = peer.ask(settings)["ready"]
            peer.run([[1000, 1001, 1002]], 1)
        except BaseException:
            peer.stop()
            raise
        peer.ready_s = time.perf_counter() - began
        return peer

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Returns one answer. Between two of them the system and its children are stopped: some poll while they are idle."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        self._signal(signal.SIGSTOP)
        if not line:
            self._signal(signal.SIGCONT)
            raise PeerFailed(f"{self.name} ended with status {self.process.wait()}", hint="its messages are in the log folder")
        return json.loads(line)

    def run(self, prompts: list[list[int]], new_tokens: int) -> float:
        """Returns the seconds of one batch; every output must have exactly `new_tokens` tokens."""
        answer = self.ask({"prompts": prompts, "new_tokens": new_tokens})
        lengths = [len(ids) for ids in answer["output_ids"]]
        if lengths != [new_tokens] * len(prompts):
            raise PeerFailed(f"{self.name} made {lengths} tokens instead of {new_tokens} for each of {len(prompts)} prompts")
        return float(answer["seconds"])

    def do(self, job: Job | Records, seed: int) -> float:
        """Returns the seconds of the work of a program; every item must be answered in full."""
        answer = self.ask({"work": job.work(seed).to_json()})
        if isinstance(job, Records):
            whole = [text for text in answer["texts"] if _is_json(text)]
        else:
            whole = answer.get("choices") or [count for count in answer["num_tokens"] if count == job.new_tokens]
        if len(whole) != job.num_items:
            raise PeerFailed(f"{self.name} answered {len(whole)} of {job.num_items} in full: {job.name}, {answer}")
        return float(answer["seconds"])

    def stop(self) -> None:
        """Closes the system's stdin, which ends it, and kills it if it goes on."""
        self._signal(signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
            self.process.communicate(timeout=30)
        if self.process.poll() is None:
            self._signal(signal.SIGKILL)
            self.process.communicate()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def available() -> list[str]:
    """Returns the systems that can run here: those in this environment, and those named by an environment variable."""
    return [name for name, variable in PEERS.items() if variable is None or variable in os.environ]


def measure(peers: Sequence[Peer], workloads: Sequence[Workload], *, vocab_size: int, rounds: int) -> None:
    """Fills `seconds` of every peer. Round 0 warms up and is not counted."""
    for number in range(rounds + 1):
        for workload in workloads:
            prompts = workload.prompts(vocab_size, seed=number)
            for peer in rotated(peers, number):
                seconds = peer.run(prompts, workload.new_tokens)
                if number:
                    peer.seconds.setdefault(workload.name, []).append(seconds)
        print(f"round {number} of {rounds} done", file=sys.stderr)


def _is_json(text: str) -> bool:
    with contextlib.suppress(ValueError):
        json.loads(text)
        return True
    return False


def measure_programs(peers: Sequence[Peer], jobs: Sequence[Job | Records], *, rounds: int) -> None:
    """Fills `seconds` of every peer. `measure` has warmed them up, but for records, whose round 0 compiles the schema."""
    for number in range(rounds + 1):
        for job in jobs:
            for peer in rotated(peers, number) if number or isinstance(job, Records) else ():
                seconds = peer.do(job, number)
                if number:
                    peer.seconds.setdefault(job.name, []).append(seconds)
        print(f"programs: round {number} of {rounds} done", file=sys.stderr)


def rotated(items: Sequence[Peer], by: int) -> list[Peer]:
    by %= len(items)
    return [*items[by:], *items[:by]]


def table(peers: Sequence[Peer], measured: Sequence[Workload | Job | Records]) -> str:
    """Returns one row per system: medians, and in brackets how many times faster than transformers."""
    base = next((peer for peer in peers if peer.name == BASELINE), None)
    rows = []
    for peer in peers:
        cells = [peer.version]
        for one in measured:
            seconds = statistics.median(peer.seconds[one.name])
            figure = one.figure(seconds)
            ratio = f" ({statistics.median(base.seconds[one.name]) / seconds:.2f}×)" if base else ""
            cells.append((f"{figure:.2f}" if one.unit == "s" else f"{figure:,.0f}") + ratio)
        rows.append([*cells, f"{peer.ready_s:.1f}"])
    return markdown_table(["system", *(f"{one.name}, {one.unit}" for one in measured), "ready after, s"], rows)


def add_args(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"alias or path of a GGUF model (default: {DEFAULT_MODEL})")
    parser.add_argument("--systems", nargs="+", choices=list(PEERS), help="which to measure (default: all that are installed)")
    parser.add_argument(
        "--workloads", nargs="+", type=int, choices=range(len(WORKLOADS)), help="numbers of the workloads (default: all)"
    )
    parser.add_argument(
        "--programs", nargs="*", type=int, choices=range(len(JOBS)), help="numbers of the programs (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds after one that warms up (default: 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of each system (default: all)")
    parser.add_argument(
        "--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="weights and activations (default: bfloat16)"
    )
    parser.add_argument("--peers-only", action="store_true", help="leave out recording on and off, and the busy cell")
    parser.add_argument("--output", type=Path, help="write the report to this file too")


def run(args: argparse.Namespace) -> int:
    if args.rounds < 1:
        raise InvalidRequest("rounds", args.rounds, "at least 1")
    # As at an interrupt: systems that stand still would outlive us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    parts = [compare(args)]
    if not args.peers_only:
        ours = ServerArgs(model_path=args.model, dtype=args.dtype, num_threads=args.threads)
        parts += [overhead.recording(ours, args.rounds), overhead.busy_cell(ours, args.rounds)]
    text = "\n\n".join(parts)
    print(text)
    if args.output:
        args.output.write_text(text + "\n")
    return 0


def compare(args: argparse.Namespace) -> str:
    """Starts the systems, measures them in turns, and returns the table."""
    from workbench.bench.hf_folder import write_hf_folder  # imports torch

    gguf = hub.gguf_path(args.model)
    folder = write_hf_folder(gguf, home() / "bench" / gguf.stem)
    vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]
    settings = {"model": args.model, "gguf": str(gguf), "folder": str(folder), "threads": args.threads, "dtype": args.dtype}
    workloads = [WORKLOADS[i] for i in args.workloads] if args.workloads else list(WORKLOADS)
    jobs = list(JOBS) if args.programs is None else [JOBS[i] for i in args.programs]
    logs = Path(tempfile.mkdtemp(prefix="workbench-peers-"))
    print(f"messages of the systems: {logs}", file=sys.stderr)
    peers: list[Peer] = []
    tables: list[str] = []
    try:
        for name in args.systems or available():
            peers.append(Peer.start(name, settings, log=logs / f"{name}.log"))
            print(f"{peers[-1].version} is ready after {peers[-1].ready_s:.1f} s", file=sys.stderr)
        parts: list[tuple[str, Sequence[Workload | Job | Records], Sequence[str]]] = [
            ("", workloads, FOR_TOKENS),
            (PROGRAMS, jobs, FOR_PROGRAMS),
            (RECORDS_SAY, [] if args.programs == [] else RECORDS, FOR_RECORDS),
        ]
        for says, measured, names in parts:
            able = [peer for peer in peers if peer.name in names]
            if not able or not measured:
                continue
            if measured is workloads:
                measure(able, workloads, vocab_size=vocab_size, rounds=args.rounds)
            else:
                measure_programs(able, cast("Sequence[Job | Records]", measured), rounds=args.rounds)
            tables.append(says + table(able, measured))
    finally:
        for peer in peers:
            peer.stop()
    ours = next((peer for peer in peers if peer.name == "workbench"), None)
    if ours is not None and all(one.name in ours.seconds for one in LIMITED):
        speeds = [one.figure(statistics.median(ours.seconds[one.name])) for one in LIMITED]
        server_args = ServerArgs(model_path=args.model, dtype=args.dtype, num_threads=args.threads)
        tables.append(Limits.of(server_args).table(*speeds))
    about = f"{args.model}, {args.dtype}, {args.threads} threads, medians of {args.rounds} rounds; in brackets: × transformers."
    return "\n\n".join([f"{about} {machine()}", *tables])


if __name__ == "__main__":
    sys.exit(commands.run("peers"))
