"""A GGUF file, opened and checked: metadata and tensors, as the `gguf` library reads them.

The library trusts the file; here a missing, cut or foreign file becomes a `WorkbenchError` with the path and the sizes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType, ReaderTensor
from gguf.quants import dequantize

from workbench.errors import ModelCorrupt, ModelNotFound, ModelUnsupported, WorkbenchError, shown

MAGIC = b"GGUF"
CHUNK = 1 << 22  # elements dequantised at a time: 16 MiB of float32 stays near the cache


class GgufFile:
    """`meta` maps metadata keys to Python values, `tensors` maps GGUF names to the library's tensors (memory-mapped)."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        check_magic(self.path)
        with damage_is_an_error_of_ours(self.path):
            self._reader = _Reader(self.path)
        self.meta = _Meta(self._reader)
        self.tensors: dict[str, ReaderTensor] = {tensor.name: tensor for tensor in self._reader.tensors}

    @property
    def architecture(self) -> str:
        return str(self.meta.get("general.architecture", "unknown"))

    def shape(self, name: str) -> tuple[int, ...]:
        """In the order of PyTorch, outermost first."""
        return tuple(int(n) for n in reversed(self.tensors[name].shape))

    def rows(self, name: str, chunk: int = CHUNK) -> Iterator[np.ndarray]:
        """The tensor in float32, a group of rows at a time: arrays [rows, ...] that make `shape(name)` together."""
        tensor = self.tensors[name]
        step = max(1, chunk // max(1, int(tensor.n_elements) // len(tensor.data)))
        for start in range(0, len(tensor.data), step):
            try:
                yield dequantize(tensor.data[start : start + step], tensor.tensor_type)
            except NotImplementedError as error:
                raise ModelUnsupported(
                    f"{self.path}: tensor {name} has type {tensor.tensor_type.name}, which the gguf library cannot dequantise"
                ) from error

    def read(self, name: str) -> np.ndarray:
        """The whole tensor in float32."""
        return np.concatenate(list(self.rows(name)))


@contextmanager
def damage_is_an_error_of_ours(path: Path) -> Iterator[None]:
    """Around code that reads a file and trusts it: whatever goes wrong there is the file's fault."""
    try:
        yield
    except (WorkbenchError, OSError):
        raise
    except Exception as error:
        raise ModelCorrupt(
            f"{path} ({path.stat().st_size:,} bytes) is truncated or damaged: {type(error).__name__}: {error}",
            hint="get the file again from where it came",
        ) from error


def check_magic(path: Path) -> None:
    if not path.is_file():
        raise ModelNotFound(f"there is no file {path}", hint="check the path")
    with path.open("rb") as file:
        start = file.read(4)
    if start != MAGIC:
        raise ModelCorrupt(
            f"{path} ({path.stat().st_size:,} bytes) is not a GGUF file: it starts with {start!r}, not {MAGIC!r}",
            hint="get the file again from where it came",
        )


class _Reader(GGUFReader):
    """The library's reader on a plain view of its memory map: indexing `np.memmap` itself is three times slower."""

    @property  # type: ignore[override]
    def data(self) -> np.ndarray:
        return self._plain

    @data.setter
    def data(self, mapped: np.memmap) -> None:
        self._plain = mapped.view(np.ndarray)


class _Meta:
    """Metadata by key; an array is turned into a list when it is asked for."""

    def __init__(self, reader: GGUFReader) -> None:
        self._fields = reader.fields

    def __contains__(self, key: str) -> bool:
        return key in self._fields

    def get(self, key: str, default: Any = None) -> Any:
        field = self._fields.get(key)
        if field is None:
            return default
        if field.types[0] == GGUFValueType.FLOAT32:
            return float(str(np.float32(field.contents())))  # 1e-05, not 9.999999747378752e-06
        return field.contents()

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def number(self, key: str, default: Any = None) -> Any:
        """One number; a list, one for each layer, where all are the same. Without a `default` the key must be there."""
        value = self.need(key) if default is None else self.get(key, default)
        if not isinstance(value, list):
            return value
        if len(set(value)) != 1:
            raise ModelUnsupported(f"the GGUF metadata have {key} = {shown(value)}: layers that differ in it are not supported")
        return value[0]

    def need(self, key: str) -> Any:
        if key not in self._fields:
            raise ModelCorrupt(f"the GGUF metadata has no {key}", hint="convert the model again with a current llama.cpp")
        return self.get(key)
