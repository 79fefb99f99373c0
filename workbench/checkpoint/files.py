"""A model folder: its config.json, its weight files, and the checks that read no tensor. Needs no torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from workbench.errors import ModelCorrupt, ModelNotFound, ModelUnsupported

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
PICKLED = "pytorch_model.bin"
GET_AGAIN = "get the file again from where it came"


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the folder's config.json as it is. Raises ModelNotFound without one, ModelCorrupt where it is no JSON object."""
    file = folder / "config.json"
    if not file.is_file():
        raise ModelNotFound(f"{folder} has no config.json", hint="a model folder needs config.json and *.safetensors files")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelCorrupt(f"{file} is not JSON: {error}", hint="fetch the model again") from error
    if not isinstance(config, dict):
        raise ModelCorrupt(f"{file} holds a {type(config).__name__}, not an object", hint="fetch the model again")
    return config


def weight_files(folder: Path) -> list[Path]:
    """Returns the folder's safetensors files: those of its index, else the one of the usual name, else all by name.

    Raises ModelNotFound where one is missing, ModelUnsupported for a folder of pickles or with an adapter, ModelCorrupt for a
    damaged index.
    """
    refuse_adapter(folder)
    files = _listed(folder, "model.safetensors", "*.safetensors")
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLE_SUFFIXES)
    if not files and pickles:
        raise pickle_error(str(folder), pickles)
    if not files:
        hint = 'put the weights there, or use load_format="dummy" for random ones'
        raise ModelNotFound(f"{folder} has no *.safetensors file", hint=hint)
    return files


def pickled_files(folder: Path) -> list[Path]:
    """Returns the folder's `pytorch_model*.bin`: those of its index, else the one of the usual name, else all by name.

    Raises as `weight_files` does.
    """
    refuse_adapter(folder)
    files = _listed(folder, PICKLED, "pytorch_model*.bin")
    if not files:
        raise ModelNotFound(f"{folder} has no pytorch_model*.bin", hint='load_format="auto" reads *.safetensors')
    return files


def _listed(folder: Path, name: str, pattern: str) -> list[Path]:
    index, usual = folder / f"{name}.index.json", folder / name
    if not index.is_file():
        return [usual] if usual.is_file() else sorted(folder.glob(pattern))
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelCorrupt(f"{index} is damaged: {error}", hint="fetch the model again") from error
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelNotFound(f"{folder} lacks {len(missing)} of {len(names)} weight files, {missing[0]} first", hint="fetch again")
    return [folder / name for name in names]


def check_whole(folder: Path, load_format: str = "auto") -> None:
    """Raises unless the folder has a config.json and all of its weight files, each as long as its tensors need.

    Of pickled ones, which count for the format "pt", the length is seen when they are opened.
    """
    refuse_adapter(folder)  # first: such a folder seldom has a config.json
    read_config(folder)
    if load_format == "pt":
        pickled_files(folder)
        return
    for file in weight_files(folder):
        _check_length(file)


def _check_length(file: Path) -> None:
    """Reads the header only."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (head_len,) = struct.unpack("<Q", stream.read(8))
            head = json.loads(stream.read(min(head_len, size)))
        needed = 8 + head_len + max((item["data_offsets"][1] for name, item in head.items() if name != "__metadata__"), default=0)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelCorrupt(f"{file} ({size:,} bytes) is not a safetensors file: {error}", hint=GET_AGAIN) from error
    if size != needed:
        raise ModelCorrupt(f"{file} is truncated: it has {size:,} bytes, its tensors need {needed:,}", hint=GET_AGAIN)


def refuse_adapter(folder: Path) -> None:
    """Raises ModelUnsupported for a folder with an adapter: peft would apply it, and the answers would change."""
    if (folder / "adapter_config.json").is_file():
        raise ModelUnsupported(
            f"{folder} holds an adapter (adapter_config.json), which is not applied yet",
            hint="merge it into its base model (peft: merge_and_unload, then save_pretrained), or give the base model alone",
        )


def pickle_error(where: str, pickles: list[str]) -> ModelUnsupported:
    """Returns the error for weights that exist as pickles only."""
    return ModelUnsupported(
        f"{where} has only pickled weights ({', '.join(pickles[:3])}), which can run code when they are opened",
        hint='use a safetensors version; or read tensors alone, where nothing in the files runs, with load_format="pt"',
    )
