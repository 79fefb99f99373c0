"""Messages between a compiler's process and its parent over two pipes: msgpack after its length."""

from __future__ import annotations

from typing import Any, BinaryIO

import msgspec

from workbench.wire_error import Failure


class Setup(msgspec.Struct, frozen=True):
    """First message: which backend, what its compiler has to know, and how much memory it may take at most."""

    backend: str
    about: bytes
    memory_bytes: int


class Reply(msgspec.Struct, frozen=True):
    """`data` is the compiled constraint as the backend's `load` reads it."""

    data: bytes = b""
    unenforced: tuple[str, ...] = ()
    seconds: float = 0.0
    """Seconds that compiling took."""
    failure: Failure | None = None


READY = Reply()
OUT_OF_MEMORY = Reply(failure=Failure("MemoryError", "", ""))


def send(pipe: BinaryIO, message: Any) -> None:
    data = msgspec.msgpack.encode(message)
    pipe.write(len(data).to_bytes(8, "little") + data)
    pipe.flush()


def receive(pipe: BinaryIO, kind: Any) -> Any:
    """Returns the next message. Raises EOFError when the other side is gone."""
    head = pipe.read(8)
    data = pipe.read(int.from_bytes(head, "little")) if len(head) == 8 else b""
    if not data:
        raise EOFError
    return msgspec.msgpack.decode(data, type=kind)
