"""`workbench models`: the models with an alias, the families that run; fetches, verifies, removes, checks and quantises them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.checkpoint.files import read_config
from workbench.config import ServerArgs
from workbench.errors import InvalidRequest, ModelNotFound
from workbench.hub.catalog import CATALOG
from workbench.hub.disk import MB
from workbench.hub.find import resolve
from workbench.hub.manage import ModelRow, fetch, list_models, remove, verify
from workbench.hub.progress import Bars
from workbench.kernels.environment import prepare_libraries
from workbench.model.registry import families_table

ACTIONS = {
    "list": "show the models with an alias, and the families that run",
    "fetch": "put a model on this machine",
    "verify": "compare the files of an alias with their sha256",
    "remove": "delete what was fetched for an alias",
    "check": "compare a model with transformers: texts and logits, or vectors, and the hidden states after each layer",
    "quantize": "write a model as a GGUF file that this engine and others read",
}
NAMES = {
    "fetch": "alias or Hugging Face id",
    "check": "alias, Hugging Face id, folder or GGUF file",
    "quantize": "alias, Hugging Face id, folder or GGUF file",
}


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    what = "list, fetch, verify, remove, check or quantize models"
    parser: argparse.ArgumentParser = subparsers.add_parser("models", help=what, description=__doc__)
    _add_download_dir(parser, None)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    for action, does in ACTIONS.items():
        own = actions.add_parser(action, help=does, description=f"{does[0].upper()}{does[1:]}.")
        _add_download_dir(own, argparse.SUPPRESS)
        if action != "list":
            own.add_argument("name", nargs="?", help=NAMES.get(action, "alias"))
        if action == "check":
            own.add_argument("--tokens", type=int, default=24, help="tokens of each text (default: 24)")
            own.add_argument("--picture", metavar="FILE", help="picture for a model that sees (default: one that is drawn)")
        if action == "quantize":
            own.add_argument("--to", required=True, metavar="FORMAT", help="q4_0, q4_1, q5_0, q5_1, q8_0, f16, bf16 or f32")
            own.add_argument("--output", metavar="FILE", help="file to write; by default MODEL-FORMAT.gguf in this folder")
            own.add_argument("--requantize", action="store_true", help="take a model that is quantised already")
    return parser


def _add_download_dir(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument("--download-dir", default=default, help="where models are kept in place of WORKBENCH_HOME/models")


def main(args: argparse.Namespace) -> int:
    if args.action in (None, "list"):
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
    elif args.action == "check":
        return _check(args)
    elif args.action == "quantize":
        _quantize(args)
    else:
        print(f"removed {args.name}, {remove(args.name, args.download_dir) / MB:,.0f} MB")
    return 0


def _check(args: argparse.Namespace) -> int:
    """Prints the comparison; returns 1 where something differs."""
    prepare_libraries()
    from workbench.eval.check import compare

    if args.tokens < 1:
        raise InvalidRequest("tokens", args.tokens, "at least 1")
    path = resolve(args.name, download_dir=args.download_dir).path
    settings: dict[str, Any] = {"dtype": "float32", "device": "cpu", "attention_backend": "reference", "max_total_tokens": 4096}
    if path.is_file() or "quantization_config" in read_config(path):
        settings["quantization"] = "dequant"
    picture = Path(args.picture).expanduser() if args.picture else None
    if picture is not None and not picture.is_file():
        raise InvalidRequest.because("picture", f"there is no file {picture}", hint="check the path")
    found = compare(ServerArgs.make(model_path=str(path), **settings), path, args.tokens, picture)
    print(found.to_text())
    return 0 if found.is_equal else 1


def _quantize(args: argparse.Namespace) -> None:
    # Imports torch, which the other actions do without.
    from workbench.model.check import check_model
    from workbench.quantize.run import default_output, quantize_model
    from workbench.quantize.targets import target_of

    target_of(args.to)  # before a model is fetched

    def check(path: Path) -> None:
        check_model(path)

    path = resolve(args.name, download_dir=args.download_dir, check=check).path
    output = Path(args.output).expanduser() if args.output else default_output(path, args.name, args.to)
    bars = Bars()
    try:
        written = quantize_model(path, args.name, args.to, output, requantize=args.requantize, progress=bars, say=print)
    finally:
        bars.close()
    kinds = ", ".join(f"{count} in {kind}" for kind, count in written.kinds.items())
    print(f"wrote {written.path}, {written.num_bytes / MB:,.0f} MB: tensors {kinds}")


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
    """Returns a table; the first row is the head."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
