"""Constrained decoding on public sets of JSON schemas: what is taken, what is wrong, how long a schema and a mask need.

`path` is a checkout of JSONSchemaBench (guidance-ai/jsonschemabench) or of JSON-Schema-Test-Suite, a folder with both, or a
selection in JSON lines. Texts have the separators ", " and ": " and the properties in the schema's order. Random walks along
the masks are judged by `jsonschema` with its format checker.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from workbench.config import DEFAULT_MODEL

READERS = ("workbench", "xgrammar", "xgrammar-any", "llguidance")
"""This project's; xgrammar's own, with the same separators and with any white space; llguidance where it is installed."""


def add_args(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", type=Path, metavar="path", help="checkouts, or files of JSON lines")
    parser.add_argument(
        "--readers", nargs="+", choices=READERS, default=["workbench"], help="readers of the schemas (default: workbench)"
    )
    parser.add_argument(
        "--families", nargs="+", default=[], help="families of schemas, such as Kubernetes or draft7 (default: all)"
    )
    parser.add_argument("--engine-tests", action="store_true", help="read the families that were written to test engines too")
    parser.add_argument("--sample", type=int, help="number of cases, from every family in proportion (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample and of the walks (default: 0)")
    parser.add_argument("--draws", type=int, default=6, help="random texts of each schema (default: 6)")
    parser.add_argument("--limit-s", type=float, default=60.0, help="seconds for one schema, all included (default: 60)")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="processes that read side by side (default: one for each core)"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"model whose tokens are used (default: {DEFAULT_MODEL})")
    parser.add_argument("--output", type=Path, help="write a JSON line of each schema and reader here")
    parser.add_argument("--rows", nargs="+", type=Path, default=[], help="files of earlier runs, to be reported too")
    parser.add_argument("--check", action="store_true", help="end with status 1 where a goal is missed")


def run(args: argparse.Namespace) -> int:
    from workbench.bench.schemas import command  # brings numpy, jsonschema and a tokenizer

    return command.run(args)
