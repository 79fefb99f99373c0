"""A compiled library: its operations as functions, read from the list that the library itself holds."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

Function = Callable[..., None]
ARGUMENTS = {"P": ctypes.c_void_p, "N": ctypes.c_int64, "F": ctypes.c_float}
"""Types of arguments by their letter in the list; a pointer is passed as an address."""


class _Operation(ctypes.Structure):
    """An entry of the list, as `cpu/operations.h` lays it out."""

    _fields_: ClassVar = [
        ("name", ctypes.c_char_p), ("dtype", ctypes.c_char_p), ("arguments", ctypes.c_char_p), ("address", ctypes.c_void_p),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Library:
    isa: str
    """Name of the instruction set that it was compiled for."""
    operations: dict[tuple[str, str], Function]
    """Functions by name of the operation and type of its numbers, "float32" or "bfloat16"."""


def load_library(path: Path, isa: str) -> Library:
    """Loads a library. Raises OSError or AttributeError if it is none of ours."""
    loaded = ctypes.CDLL(str(path))
    listed, count = loaded.list_operations, ctypes.c_int64()
    listed.restype = ctypes.POINTER(_Operation)
    entries = listed(ctypes.byref(count))[: count.value]
    return Library(isa, {(entry.name.decode(), entry.dtype.decode()): _function(entry) for entry in entries})


def _function(entry: _Operation) -> Function:
    function: Function = ctypes.CFUNCTYPE(None, *(ARGUMENTS[letter] for letter in entry.arguments.decode()))(entry.address)
    return function
