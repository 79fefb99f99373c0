"""`workbench bench NAME`: the table of benchmarks. Each module has `add_args(parser)` and `run(args) -> int`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from workbench.errors import NotSupported, WorkbenchError, install

BENCHMARKS = {
    "offline": "throughput of many prompts through an offline engine",
    "growth": "how a step grows with its streams, the length of a context, and the nodes of the radix tree; makes charts",
    "cache": "what the prefix cache costs as its tree grows to a million nodes: match, split, evict, insert, steps, snapshots",
    "one_batch": "one static batch through the model runner, without the scheduler",
    "peers": "this engine beside transformers, vLLM, OpenVINO GenAI and llama.cpp",
    "one_batch_server": "one batch through a running server: first tokens, latency, throughput of the prompts and of all",
    "structured": "records under a JSON schema, with and without jump-forward; what a mask adds to a step of 32 streams",
    "schemas": "constrained decoding on public sets of JSON schemas: taken, wrong, compile and mask time",
    "views": "what the live views cost: closed, open on a busy engine, drawn by a browser; a tree of 50,000 nodes",
    "serving": "a running server under load: throughput, percentiles of first token, later tokens and whole answers",
    "server": "two running servers on the same prompts, in turns: full load, chats of several turns, one request a second",
    "http": "what HTTP adds to an engine: first token, later tokens, 1,000 open streams",
    "loading": "a folder of safetensors becomes a model: seconds beside plain reading of its bytes, and memory",
    "random_gguf": "writes a GGUF file of a published shape with random blocks, for figures of models that are not at hand",
    "overhead": "import time, the cost of recording events, decoding while a Python cell is busy",
}


def add_parser(subparsers: Any) -> None:
    """Adds the benchmarks to the command `workbench`."""
    parser = subparsers.add_parser("bench", help="benchmarks", description=__doc__)
    names = parser.add_subparsers(dest="benchmark", metavar="NAME", required=True)
    for name, help in BENCHMARKS.items():
        _fill(names.add_parser(name.replace("_", "-"), help=help, aliases=[name] if "_" in name else []), name)


def main(args: argparse.Namespace) -> int:
    """Runs the benchmark that was chosen; NotSupported names a package that is missing."""
    os.environ.setdefault("WORKBENCH_KERNELS", "wait")  # what is measured does not change in between
    try:
        return int(args.run_benchmark(args))
    except ImportError as error:
        if error.name is None or error.name.startswith("workbench"):
            raise
        raise NotSupported(f"this benchmark needs {error.name}", hint=install("engine")) from error


def run(name: str, argv: Sequence[str] | None = None) -> int:
    """Runs one benchmark by itself (`python -m workbench.bench_one_batch`) and returns its exit status; 2 for a user's error."""
    parser = _fill(argparse.ArgumentParser(), name)
    try:
        return main(parser.parse_args(argv))
    except WorkbenchError as error:
        print("\n".join(error._render_traceback_()), file=sys.stderr)
        return 2


def _fill(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    module = importlib.import_module(f"workbench.bench.{name}")
    parser.description = module.__doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(run_benchmark=module.run)
    module.add_args(parser)
    return parser
