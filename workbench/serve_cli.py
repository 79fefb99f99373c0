"""`workbench serve MODEL`: serves a model over HTTP."""

from __future__ import annotations

import argparse
from typing import Any

from workbench.config import ServerArgs
from workbench.kernels.quick_imports import kept_bytecode


def add_parser(subparsers: Any) -> None:
    """Adds the sub-command."""
    parser = subparsers.add_parser("serve", help="serve a model over HTTP", description=__doc__)
    parser.add_argument("model", nargs="?", default=argparse.SUPPRESS, help="the model; the same as --model-path")
    ServerArgs.add_cli_args(parser)


def main(args: argparse.Namespace) -> int:
    """Runs the server; returns its exit status."""
    if "model" in args:
        args.model_path = args.model
    with kept_bytecode():
        from workbench.server.run import serve

        return serve(ServerArgs.from_cli_args(args))
