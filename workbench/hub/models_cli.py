"""`workbench models`: which models are here, fetching, verifying and removing them. Each verb is a function as well."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import ModelCorrupt, ModelNotFound
from workbench.hub.catalog import CATALOG, CatalogEntry
from workbench.hub.disk import MB, bytes_in, sha256_of
from workbench.hub.find import entry_home, lock_model, models_dir, resolve
from workbench.hub.wheels import installed_gguf
from workbench.model.config import read_config
from workbench.model.families import families_table
from workbench.model.folder import MARKER, ModelFolder, is_converted


@dataclass(frozen=True)
class ModelRow:
    """One line of the list. `state` is "ready", "fetched" (not converted yet), "installed" (as a package) or "not fetched"."""

    name: str
    title: str
    state: str
    num_bytes: int
    """On disk now; what a fetch would leave there when nothing is."""
    license: str
    path: Path


def list_models(download_dir: str | None = None) -> list[ModelRow]:
    """The aliases, then the GGUF files that were converted from elsewhere."""
    root = models_dir(download_dir)
    rows = [_alias_row(entry, entry_home(entry, root)) for entry in CATALOG.values()]
    for folder in sorted((root / "gguf").glob("[!.]*")):
        if is_converted(folder):
            title = f"converted from {read_config(folder)[MARKER]['gguf']}"
            rows.append(ModelRow(f"gguf/{folder.name}", title, "ready", bytes_in(folder), "", folder))
    return rows


def fetch(name: str, download_dir: str | None = None, progress: Any = None) -> ModelFolder:
    """Fetches and converts; nothing happens when the model is ready."""
    return resolve(name, download_dir=download_dir, progress=progress)


def verify(name: str, download_dir: str | None = None) -> list[Path]:
    """Reads a model's files again and compares their sha256; returns the files. Raises ModelCorrupt, ModelNotFound."""
    folder = _home(name, models_dir(download_dir))
    entry, wanted = CATALOG.get(name), {}
    weights = folder / "hf" if entry else folder
    if entry and (folder / "gguf" / entry.gguf).is_file():
        wanted[folder / "gguf" / entry.gguf] = entry.sha256
    if (weights / "config.json").is_file():
        wanted[weights / "model.safetensors"] = read_config(weights)[MARKER]["safetensors_sha256"]
    if not wanted:
        raise ModelNotFound(f"there is nothing of {name} in {folder}", hint=f"workbench models fetch {name}")
    for path, sha256 in wanted.items():
        found = sha256_of(path) if path.is_file() else "none: the file is missing"
        if found != sha256:
            hint = f"workbench models remove {name}, then fetch it again"
            raise ModelCorrupt(f"{path} has sha256 {found}, it should be {sha256}", hint=hint)
    return list(wanted)


def remove(name: str, download_dir: str | None = None) -> int:
    """Deletes what was fetched and converted for this name and returns the bytes that were freed."""
    folder = _home(name, models_dir(download_dir))
    if not folder.exists():
        raise ModelNotFound(f"there is nothing of {name} in {folder}", hint="workbench models list shows what is there")
    with lock_model(models_dir(download_dir), folder.name):
        freed = bytes_in(folder)
        shutil.rmtree(folder)
    return freed


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    what = "list, fetch, verify or remove models"
    parser: argparse.ArgumentParser = subparsers.add_parser("models", help=what, description=__doc__)
    parser.add_argument("action", nargs="?", default="list", choices=("list", "fetch", "verify", "remove"))
    parser.add_argument("name", nargs="?", help="alias, Hugging Face id, or a name from the list")
    parser.add_argument("--download-dir", help="where models are kept in place of WORKBENCH_HOME/models")
    return parser


def main(args: argparse.Namespace) -> int:
    if args.action == "list":
        print(_models_table(list_models(args.download_dir)))
        print(f"\nWhat else runs, by hub id, folder or GGUF file:\n{_table(families_table())}")
        return 0
    if args.name is None:
        raise ModelNotFound(f"which model should I {args.action}?", hint=f"aliases: {', '.join(CATALOG)}")
    if args.action == "fetch":
        began = time.monotonic()
        model = fetch(args.name, args.download_dir)
        print(f"{args.name} is ready after {time.monotonic() - began:.1f} s\n  folder   {model.path}\n  source   {model.source}")
        if model.license:
            print(f"  license  {model.license}")
        if args.name in CATALOG and CATALOG[args.name].terms:
            print(f"  terms    {CATALOG[args.name].terms}")
        if model.gguf:
            print(f"  gguf     {model.gguf}")
    elif args.action == "verify":
        for path in verify(args.name, args.download_dir):
            print(f"ok  {path}")
    else:
        print(f"removed {args.name}, {remove(args.name, args.download_dir) / MB:,.0f} MB")
    return 0


def _alias_row(entry: CatalogEntry, home: Path) -> ModelRow:
    if is_converted(home / "hf"):
        state = "ready"
    elif (home / "gguf" / entry.gguf).is_file():
        state = "fetched"
    else:
        state = "installed" if installed_gguf(entry, check=False) else "not fetched"
    num_bytes = bytes_in(home) if home.exists() else entry.size + entry.converted_size
    return ModelRow(entry.alias, entry.title, state, num_bytes, entry.license, home)


def _home(name: str, root: Path) -> Path:
    """The folder of an alias or of a `gguf/...` row; other names are not ours to verify or remove."""
    if name in CATALOG:
        return root / name
    folder = root / name
    if name.startswith("gguf/") and folder.parent == root / "gguf" and folder.is_dir():
        return folder
    raise ModelNotFound(f"{name} is not a model in {root}", hint="workbench models list shows those that are")


def _models_table(rows: list[ModelRow]) -> str:
    head = ("NAME", "STATE", "SIZE", "LICENSE", "WHAT")
    return _table([head, *((r.name, r.state, f"{r.num_bytes / MB:,.0f} MB", r.license, r.title) for r in rows)])


def _table(cells: Sequence[Sequence[str]]) -> str:
    """The first row is the head."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
