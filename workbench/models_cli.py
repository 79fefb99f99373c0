"""`workbench models`: the models with an alias, the families that run, and fetching, verifying and removing. Imports no torch."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from workbench.errors import ModelNotFound
from workbench.hub.catalog import CATALOG
from workbench.hub.disk import MB
from workbench.hub.manage import ModelRow, fetch, list_models, remove, verify
from workbench.model.registry import families_table


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    what = "list, fetch, verify or remove models"
    parser: argparse.ArgumentParser = subparsers.add_parser("models", help=what, description=__doc__)
    parser.add_argument("action", nargs="?", default="list", choices=("list", "fetch", "verify", "remove"))
    parser.add_argument("name", nargs="?", help="alias, or for fetch a Hugging Face id")
    parser.add_argument("--download-dir", help="where models are kept in place of WORKBENCH_HOME/models")
    return parser


def main(args: argparse.Namespace) -> int:
    if args.action == "list":
        print(_models_table(list_models(args.download_dir)))
        print(f"\nWhat else runs, by hub id, folder or GGUF file:\n{_table(families_table())}")
        return 0
    if args.name is None:
        raise ModelNotFound(f"{args.action} needs the name of a model", hint=f"aliases: {', '.join(CATALOG)}")
    if args.action == "fetch":
        _fetch(args.name, args.download_dir)
    elif args.action == "verify":
        for path in verify(args.name, args.download_dir):
            print(f"ok  {path}")
    else:
        print(f"removed {args.name}, {remove(args.name, args.download_dir) / MB:,.0f} MB")
    return 0


def _fetch(name: str, download_dir: str | None) -> None:
    began = time.monotonic()
    model = fetch(name, download_dir)
    print(f"{name} is ready after {time.monotonic() - began:.1f} s\n  path     {model.path}\n  source   {model.source}")
    if model.license:
        print(f"  license  {model.license}")
    if name in CATALOG and CATALOG[name].terms:
        print(f"  terms    {CATALOG[name].terms}")


def _models_table(rows: list[ModelRow]) -> str:
    head = ("NAME", "STATE", "SIZE", "LICENSE", "WHAT")
    return _table([head, *((r.name, r.state, f"{r.num_bytes / MB:,.0f} MB", r.license, r.title) for r in rows)])


def _table(cells: Sequence[Sequence[str]]) -> str:
    """The first row is the head."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
