"""Several files of safetensors as one, without torch: heads are read, numbers are copied as bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from workbench.errors import InvalidRequest

LENGTH_BYTES = 8
PICKLE = b"\x80"
"""First byte of pickled Python objects, in every protocol since the second."""


def joined(files: Sequence[bytes]) -> bytes:
    """Returns one file with the tensors of all. Raises InvalidRequest for what is no such file, and for a name in two of them."""
    head: dict[str, Any] = {}
    parts: list[bytes] = []
    size = 0
    for file in files:
        named, data = _split(file)
        for name, about in named.items():
            if name == "__metadata__":
                continue
            if name in head:
                raise _refused(f"{name} is in two of them")
            head[name] = about | {"data_offsets": [size + offset for offset in about["data_offsets"]]}
        parts.append(data)
        size += len(data)
    said = json.dumps(head).encode()
    said += b" " * (-len(said) % LENGTH_BYTES)
    return b"".join([len(said).to_bytes(LENGTH_BYTES, "little"), said, *parts])


def _split(file: bytes) -> tuple[dict[str, Any], bytes]:
    if file[:1] == PICKLE:
        raise _refused("these are pickled, which can run code when they are opened")
    length = int.from_bytes(file[:LENGTH_BYTES], "little")
    try:
        named = json.loads(file[LENGTH_BYTES : LENGTH_BYTES + length])
        for about in (about for name, about in named.items() if name != "__metadata__"):
            begin, end = about["data_offsets"]
            if not 0 <= begin <= end <= len(file) - LENGTH_BYTES - length:
                raise ValueError("a tensor lies outside the file")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _refused(f"these are no tensors: {error}") from None
    return named, file[LENGTH_BYTES + length :]


def _refused(what: str) -> InvalidRequest:
    return InvalidRequest.because("serialized_named_tensors", what, hint="send what safetensors.save writes")
