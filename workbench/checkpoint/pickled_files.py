"""Reads `pytorch_model*.bin`, where that is asked for: tensors alone, and nothing in a file runs."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from workbench.checkpoint.base import Stored
from workbench.checkpoint.files import GET_AGAIN, pickled_files
from workbench.checkpoint.safetensors_files import FLOATS
from workbench.errors import ModelCorrupt, ModelUnsupported, shown

TYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
SAVE_AGAIN = "save it again as safetensors where it is trusted, with transformers: model.save_pretrained(folder)"


class PickledCheckpoint:
    """A `Checkpoint` over files of `torch.save`, mapped into memory where they have the form of a zip archive.

    Raises ModelUnsupported for a file with anything but tensors by name, ModelCorrupt for a damaged one and for a name in two
    files.
    """

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self.path = path
        self._values: dict[str, Tensor] = {}
        for file in files:
            for name, value in _open(file).items():
                if name in self._values:
                    raise ModelCorrupt(f"{name} is in {file.name} and in another file of {path}", hint="keep one of them")
                self._values[name] = value
        self.tensors = {name: _stored(value) for name, value in self._values.items()}

    def read(self, name: str, rows: slice | None = None) -> Tensor:
        return self._values[name] if rows is None else self._values[name][rows]

    def __enter__(self) -> PickledCheckpoint:
        return self

    def __exit__(self, *error: object) -> None:
        self._values = {}


def _stored(value: Tensor) -> Stored:
    kind = TYPES.get(value.dtype, str(value.dtype).removeprefix("torch."))
    return Stored(tuple(value.shape), kind, kind in FLOATS, is_readable=kind in FLOATS)


def _open(file: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=_is_archive(file))
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = named[1] if named else "more than tensors"
        raise ModelUnsupported(f"{file} holds {what}, which can run code: it is not opened", hint=SAVE_AGAIN) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        why = str(error).split("\n")[0]
        raise ModelCorrupt(f"{file} ({file.stat().st_size:,} bytes) is truncated or damaged: {why}", hint=GET_AGAIN) from None
    values = found if isinstance(found, dict) else {}
    others = [name for name, value in values.items() if not isinstance(value, Tensor) or not isinstance(name, str)]
    if others or not values:
        what = f"{shown(others[0])}, which is no tensor" if others else "no tensors by name"
        raise ModelUnsupported(f"{file} holds {what}: it is no file of weights alone", hint=SAVE_AGAIN)
    return values


def _is_archive(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def open_pickled(path: Path) -> PickledCheckpoint:
    """Opens the pickled weights of a model folder."""
    return PickledCheckpoint(path, pickled_files(path))
