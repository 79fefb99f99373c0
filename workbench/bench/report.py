"""Writes the output of every benchmark: Markdown tables, and the machine they were measured on."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workbench.config import ServerArgs

Rows = Mapping[str, Callable[[ServerArgs, int], str]]
"""Tables by name: each from the engine's options and the number of rounds."""


def add_row_args(parser: argparse.ArgumentParser, rows: Rows) -> None:
    ServerArgs.add_cli_args(parser)
    parser.add_argument("--rows", nargs="+", choices=list(rows), default=list(rows), help="what to measure (default: all)")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each kind, interleaved (default: 15)")


def run_rows(args: argparse.Namespace, rows: Rows) -> int:
    server_args = ServerArgs.from_cli_args(args)
    for name in args.rows:
        print(rows[name](server_args, args.rounds), end="\n\n", flush=True)
    print(machine())
    return 0


def spread(more: Sequence[float], less: Sequence[float]) -> str:
    """Returns how much larger the first values are than the second, pair by pair: median and quartiles."""
    ratios = [a / b - 1 for a, b in zip(more, less, strict=True)]
    if len(ratios) < 2:
        return f"{ratios[0]:+.1%}"
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:+.1%} ({low:+.1%} to {high:+.1%})"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """Returns the machine in one sentence: CPU, cores, matrix instructions, Python."""
    cpu, flags = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        cpu, flags = fields.get("model name", cpu), fields.get("flags", "")
    features = [name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in flags.split()]
    vectors = ", ".join(features) or "no vector flags known"
    return f"Machine: {cpu}, {os.cpu_count()} cores ({vectors}), Python {platform.python_version()}."
