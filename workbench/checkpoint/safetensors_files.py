"""Reads safetensors files: one, or the several of a folder. Tensors are mapped into memory and not copied."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from workbench.checkpoint.base import Stored
from workbench.checkpoint.files import GET_AGAIN, weight_files
from workbench.checkpoint.mapped_files import MappedFiles
from workbench.errors import ModelCorrupt

FLOATS = ("F64", "F32", "F16", "BF16")


class SafetensorsCheckpoint:
    """A `Checkpoint` over safetensors files. Raises ModelCorrupt for a damaged file and for a name in two files."""

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self.path = path
        self.tensors: dict[str, Stored] = {}
        self._handles: dict[str, Any] = {}
        self._files: dict[str, Path] = {}
        self._mapped = MappedFiles()
        self._stack = ExitStack()
        with ExitStack() as opened:
            for file in files:
                self._add(file, opened)
            self._stack = opened.pop_all()

    def _add(self, file: Path, opened: ExitStack) -> None:
        try:
            handle = opened.enter_context(safe_open(file, framework="pt"))
        except (SafetensorError, OSError) as error:
            raise ModelCorrupt(f"{file} is truncated or damaged: {error}", hint=GET_AGAIN) from None
        for name in handle.keys():  # noqa: SIM118  # the handle itself cannot be iterated
            if name in self._handles:
                raise ModelCorrupt(f"{name} is in {file.name} and in another file of {self.path}", hint="keep one of them")
            stored = handle.get_slice(name)
            is_dense = stored.get_dtype() in FLOATS
            self.tensors[name] = Stored(tuple(stored.get_shape()), stored.get_dtype(), is_dense, is_readable=is_dense)
            self._handles[name], self._files[name] = handle, file

    def read(self, name: str, rows: slice | None = None) -> Tensor:
        handle = self._handles[name]
        if rows is not None:
            part: Tensor = handle.get_slice(name)[rows]
            return part
        found: Tensor = handle.get_tensor(name)
        self._mapped.note(self._files[name], found)
        return found

    def __enter__(self) -> SafetensorsCheckpoint:
        return self

    def __exit__(self, *error: object) -> None:
        self._mapped.let_go()
        self._stack.close()


def open_safetensors(path: Path) -> SafetensorsCheckpoint:
    """Opens the weights of a model folder, or one file."""
    return SafetensorsCheckpoint(path, [path] if path.is_file() else weight_files(path))
