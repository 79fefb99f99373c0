"""The head of a GGUF file: metadata, and where each tensor lies. Trusts nothing in the file. Needs no torch."""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from workbench.checkpoint.block_types import GGUF_TYPES, BlockType
from workbench.checkpoint.files import GET_AGAIN
from workbench.errors import ModelCorrupt, ModelNotFound, ModelUnsupported, WorkbenchError, shown

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Number of a metadata type -> its letter in `struct`."""
FLOAT32, STRING, ARRAY = 6, 8, 9
MAX_DIMS = 4
SPLIT = re.compile(r"-(\d{5})-of-\d{5}\.gguf$")
"""End of the name of one of several files that a model is split into, with its number."""
BESIDE = re.compile(r"mmproj|imatrix", re.IGNORECASE)
"""Words in the names of files beside a model: a tower, or weights of importance."""
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class GgufTensor:
    type: BlockType
    shape: tuple[int, ...]
    """Outermost size first, as in PyTorch; the file has them the other way round."""
    start: int
    """Byte of the file at which the tensor begins."""
    part: int = 0
    """Index of that file among those of a model that is split."""

    @property
    def num_rows(self) -> int:
        return prod(self.shape[:-1])

    @property
    def row_bytes(self) -> int:
        return self.shape[-1] // self.type.block_len * self.type.block_bytes


class GgufFile:
    """An opened GGUF file, or the first of several that a model is split into: then with the tensors of all.

    Raises ModelNotFound, ModelCorrupt or ModelUnsupported with the path and the sizes.
    """

    def __init__(self, path: str | os.PathLike[str], *, is_part: bool = False) -> None:
        """Reads the head of the file, and those of the parts behind it, unless it `is_part` of them."""
        self.path = Path(path)
        check_magic(self.path)
        self.size = self.path.stat().st_size
        with self.path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with self.is_to_blame():
            head = _Head(self._data)
            version, num_tensors, num_keys = struct.unpack_from("<IQQ", self._data, len(MAGIC))
            if version not in VERSIONS:
                raise ModelUnsupported(f"{self.path} is GGUF version {version}", hint=f"versions that are read: {VERSIONS}")
            self.meta = Meta(dict(head.pair() for _ in range(num_keys)))
            self.tensors = self._tensors(head, num_tensors)
            self.parts = [self.path]
            """All files, in order."""
            if not is_part and (count := self.meta.get("split.count", 1)) > 1:
                self._join(count)

    @property
    def architecture(self) -> str:
        return str(self.meta.get("general.architecture", "unknown"))

    def floats(self, name: str) -> list[float]:
        """Returns the numbers of a small float32 tensor."""
        tensor = self.tensors[name]
        if tensor.type.name != "F32":
            raise ModelUnsupported(f"{self.path}: tensor {name} has type {tensor.type.name}, F32 is read")
        with self.parts[tensor.part].open("rb") as file:
            file.seek(tensor.start)
            return list(struct.unpack(f"<{prod(tensor.shape)}f", file.read(4 * prod(tensor.shape))))

    def end_ids(self) -> frozenset[int]:
        """Returns the ids of all tokens that end a turn or a text."""
        ids = (self.meta.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom"))
        return frozenset(token for token in ids if token is not None)

    @contextmanager
    def is_to_blame(self) -> Iterator[None]:
        """Turns any error of a block that trusts the metadata into ModelCorrupt; errors of ours and of the system pass."""
        try:
            yield
        except (WorkbenchError, OSError):
            raise
        except Exception as error:
            raise self._damaged(error) from error

    def _join(self, count: int) -> None:
        """Changes: adds the tensors of the other files."""
        number = self.meta.get("split.no", 0)
        names = [SPLIT.sub(f"-{i + 1:05}-of-{count:05}.gguf", self.path.name) for i in range(count)]
        if SPLIT.search(self.path.name) is None or self.path.name != names[number]:
            usual = f"NAME-{number + 1:05}-of-{count:05}.gguf"
            raise ModelUnsupported(f"{self.path} is part {number + 1} of {count}", hint=f"call the parts {usual} and so on")
        if number:
            raise ModelUnsupported(f"{self.path} is part {number + 1} of {count}", hint=f"give the first: {names[0]}")
        self.parts = [self.path.with_name(name) for name in names]
        missing = [part.name for part in self.parts if not part.is_file()]
        if missing:
            message = f"{self.path} is the first of {count} parts, and {missing[0]} is missing"
            raise ModelNotFound(message, hint=f"put all parts into the folder {self.path.absolute().parent}")
        for index, path in enumerate(self.parts[1:], 1):
            part = GgufFile(path, is_part=True)
            if twice := self.tensors.keys() & part.tensors.keys():
                raise ValueError(f"{len(twice)} tensors are in two of its {count} parts, {min(twice)} for one")
            self.tensors |= {name: replace(tensor, part=index) for name, tensor in part.tensors.items()}
        stated = self.meta.get("split.tensors.count", len(self.tensors))
        if stated != len(self.tensors):
            message = f"{self.path} and its {count - 1} further parts have {len(self.tensors)} of {stated} tensors"
            raise ModelCorrupt(message, hint=GET_AGAIN)

    def _damaged(self, error: Exception) -> ModelCorrupt:
        if isinstance(error, struct.error):
            why = "it ends within its head"
        else:
            why = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        return ModelCorrupt(f"{self.path} ({self.size:,} bytes) is truncated or damaged: {why}", hint=GET_AGAIN)

    def _tensors(self, head: _Head, count: int) -> dict[str, GgufTensor]:
        found: dict[str, GgufTensor] = {}
        for _ in range(count):
            name, tensor = head.tensor()
            if name in found:
                raise ValueError(f"tensor {name} is listed twice")
            found[name] = tensor
        alignment = self.meta.get("general.alignment", 32)
        data_start = -(-head.position // alignment) * alignment
        placed = {n: GgufTensor(t.type, t.shape, data_start + t.start) for n, t in found.items()}
        for name, tensor in placed.items():
            end = tensor.start + tensor.num_rows * tensor.row_bytes
            if tensor.shape[-1] % tensor.type.block_len or end > self.size:
                raise ValueError(f"tensor {name} {list(tensor.shape)} in {tensor.type.name} would end at byte {end:,}")
        return placed


def open_gguf_file(path: Path) -> GgufFile:
    """Returns the opened file: the same object while the file is unchanged, because model and tokenizer both read it."""
    check_magic(path)
    state = path.stat()
    return _opened(path.absolute(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=2)
def _opened(path: Path, size: int, mtime_ns: int) -> GgufFile:
    return GgufFile(path)


def begins_model(name: str) -> bool:
    """Returns whether a file of this name is a model, or the first part of one, and no file beside it."""
    part = SPLIT.search(name)
    return BESIDE.search(name) is None and (part is None or int(part[1]) == 1)


def check_magic(path: Path) -> None:
    """Raises ModelNotFound for a missing file, ModelCorrupt for one that does not begin as a GGUF does."""
    if not path.is_file():
        raise ModelNotFound(f"there is no file {path}", hint="check the path")
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
    if start != MAGIC:
        size = path.stat().st_size
        raise ModelCorrupt(f"{path} ({size:,} bytes) is not a GGUF file: it starts with {start!r}, not {MAGIC!r}", hint=GET_AGAIN)


class _Head:
    """Reads the head from front to back."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.position = len(MAGIC) + 20

    def pair(self) -> tuple[str, Any]:
        return self._string(), self._value(self._u32())

    def tensor(self) -> tuple[str, GgufTensor]:
        name, num_dims = self._string(), self._u32()
        if not 1 <= num_dims <= MAX_DIMS:
            raise ValueError(f"tensor {name} has {num_dims} dimensions")
        shape = tuple(self._u64() for _ in range(num_dims))[::-1]
        number, start = self._u32(), self._u64()
        if number not in GGUF_TYPES:
            known = ", ".join(kind.name for kind in GGUF_TYPES.values())
            message = f"tensor {name} has the type number {number}, which is not known here"
            raise ModelUnsupported(message, hint=f"known: {known}; quantise the model again, to one of them")
        return name, GgufTensor(GGUF_TYPES[number], shape, start)

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            return self._array(self._u32(), self._u64())
        (value,) = self._scalars(SCALARS[kind], 1)
        return shortest(value) if kind == FLOAT32 else value

    def _array(self, kind: int, count: int) -> Any:
        """Returns a list; of strings, one that is decoded when it is asked for."""
        if kind in SCALARS:
            return list(self._scalars(SCALARS[kind], count))
        if kind != STRING:
            raise ValueError(f"an array of the type number {kind}")
        data, position, unpack = self._data, self.position, _U64.unpack_from
        start = position
        for _ in range(count):
            position += 8 + unpack(data, position)[0]
        self.position = position
        return _Strings(data, start, count)

    def _scalars(self, letter: str, count: int) -> tuple[Any, ...]:
        size = struct.calcsize(letter) * count
        if self.position + size > len(self._data):
            raise ValueError(f"{count:,} values at byte {self.position:,}")
        values = struct.unpack_from(f"<{count}{letter}", self._data, self.position)
        self.position += size
        return values

    def _u32(self) -> int:
        return int(self._scalars("I", 1)[0])

    def _u64(self) -> int:
        return int(self._scalars("Q", 1)[0])

    def _string(self) -> str:
        length = self._u64()
        end = self.position + length
        if end > len(self._data):
            raise ValueError(f"a string of {length:,} bytes at byte {self.position:,}")
        text = self._data[self.position : end].decode("utf-8")
        self.position = end
        return text


@dataclass(frozen=True, slots=True)
class _Strings:
    """An array of strings, not decoded yet."""

    data: mmap.mmap
    start: int
    count: int

    def decode(self) -> list[str]:
        data, position, unpack, found = self.data, self.start, _U64.unpack_from, []
        for _ in range(self.count):
            begin = position + 8
            position = begin + unpack(data, position)[0]
            found.append(data[begin:position].decode("utf-8"))
        return found


def shortest(value: float) -> float:
    """Returns the number of fewest digits that is this one in float32: 1e-05, not 9.999999747378752e-06."""
    raw = struct.pack("<f", value)
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        if struct.pack("<f", short) == raw:
            return short
    return value


class Meta:
    """Metadata by key."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value of a key, or `default`. Raises ModelCorrupt for a list of strings that are not UTF-8."""
        value = self._values.get(key, default)
        if not isinstance(value, _Strings):
            return value
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise ModelCorrupt(f"the GGUF metadata have {key} in something else than UTF-8: {error}", hint=GET_AGAIN) from error

    def need(self, key: str) -> Any:
        """Returns the value of a key that must be there."""
        if key not in self._values:
            raise ModelCorrupt(f"the GGUF metadata has no {key}", hint="convert the model again with a current llama.cpp")
        return self.get(key)

    def number(self, key: str, default: Any = None) -> Any:
        """Returns one number; a list, one for each layer, where all are the same. Without a `default` the key must be there."""
        value = self.need(key) if default is None else self.get(key, default)
        if not isinstance(value, list):
            return value
        if len(set(value)) != 1:
            raise ModelUnsupported(f"the GGUF metadata have {key} = {shown(value)}: layers that differ in it are not supported")
        return value[0]
