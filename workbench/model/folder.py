"""A model on disk: a folder in Hugging Face layout, and the checks that need nothing but its files."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import ModelCorrupt, ModelNotFound, ModelUnsupported
from workbench.model.config import check_config, read_config

CONVERTER = 2
"""Raised when `gguf_convert` writes something else than before: folders of an older number are converted again."""
MARKER = "workbench_gguf"
"""The key in config.json of a converted folder: number of the converter, name and size of the GGUF, sha256 of the weights."""
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

Progress = Callable[[str, int, int], None]
"""Called with (what is done, bytes so far, bytes in all), many times a second."""


@dataclass(frozen=True)
class ModelFolder:
    """Where a model's files are and where they came from."""

    path: Path
    """Folder with config.json, model.safetensors (or shards and their index), tokenizer.json, tokenizer_config.json."""
    name: str
    """The name that was asked for."""
    source: str
    """In words: a package and its version, a hub id and its commit, a folder, a GGUF file."""
    license: str = ""
    gguf: Path | None = None
    """The GGUF file it was converted from."""


def check_folder(path: Path, load_format: str = "auto", override: Mapping[str, Any] | None = None) -> None:
    """Raises unless `path` holds whole safetensors files of a model that runs; for dummy weights, unless it has a config.json.

    `override` replaces keys of config.json. Nothing but the config and the heads of the files is read.
    """
    if load_format != "dummy":
        refuse_adapter(path)  # first: such a folder seldom has a config.json
    config = read_config(path)
    if load_format == "dummy":
        return
    check_config(config | dict(override or {}), path)
    for file in needed_files(path):
        check_safetensors(file)


def refuse_adapter(path: Path) -> None:
    """Raises for a folder with an adapter: peft and transformers would apply it, and the answers would be others."""
    if (path / "adapter_config.json").is_file():
        raise ModelUnsupported(
            f"{path} holds an adapter (adapter_config.json), which is not applied yet",
            hint="merge it into its base model (peft: merge_and_unload, then save_pretrained), or give the base model alone",
        )


def pickle_error(where: str, pickles: list[str]) -> ModelUnsupported:
    return ModelUnsupported(
        f"{where} has only pickled weights ({', '.join(pickles[:3])}), which can run code when they are opened",
        hint="use a safetensors version, or save it again with transformers: model.save_pretrained(folder)",
    )


def needed_files(path: Path) -> list[Path]:
    """`weight_files`, of which there must be one."""
    files = weight_files(path)
    pickles = sorted(file.name for file in path.iterdir() if file.suffix in PICKLE_SUFFIXES)
    if not files and pickles:
        raise pickle_error(str(path), pickles)
    if not files:
        hint = 'put the weights there, or use load_format="dummy" for random ones'
        raise ModelNotFound(f"{path} has no *.safetensors file", hint=hint)
    return files


def weight_files(path: Path) -> list[Path]:
    """The safetensors files: those an index lists, else the one that has the usual name, else all in the order of names."""
    index, usual = path / "model.safetensors.index.json", path / "model.safetensors"
    if not index.is_file():
        return [usual] if usual.is_file() else sorted(path.glob("*.safetensors"))
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelCorrupt(f"{index} is damaged: {error}", hint="fetch the model again") from error
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        raise ModelNotFound(f"{path} lacks {len(missing)} of {len(names)} weight files, {missing[0]} first", hint="fetch again")
    return [path / name for name in names]


def check_safetensors(file: Path) -> None:
    """Reads the header only: the file is as long as its tensors need."""
    size = file.stat().st_size
    hint = "get the file again from where it came"
    try:
        with file.open("rb") as stream:
            (head_len,) = struct.unpack("<Q", stream.read(8))
            head = json.loads(stream.read(min(head_len, size)))
        needed = 8 + head_len + max((item["data_offsets"][1] for name, item in head.items() if name != "__metadata__"), default=0)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelCorrupt(f"{file} ({size:,} bytes) is not a safetensors file: {error}", hint=hint) from error
    if size != needed:
        raise ModelCorrupt(f"{file} is truncated: it has {size:,} bytes, its tensors need {needed:,}", hint=hint)


def is_converted(path: Path) -> bool:
    """Whether `path` is whole and was written by the present converter."""
    try:
        check_folder(path)
        return bool(read_config(path)[MARKER]["converter"] == CONVERTER)
    except (ModelNotFound, ModelCorrupt, ModelUnsupported, KeyError, TypeError):
        return False
