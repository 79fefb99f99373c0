"""Messages between a compiler's process and its parent, over two pipes: a length, then msgpack."""

from __future__ import annotations

from typing import Any, BinaryIO

import msgspec

from workbench.wire_error import Failure


class Setup(msgspec.Struct, frozen=True):
    """First message: the backend, the settings of its compiler, and the largest memory it may use."""

    backend: str
    about: bytes
    memory_bytes: int


class Answer(msgspec.Struct, frozen=True):
    """The result of one compilation. `data` is the compiled constraint as the backend's `load` reads it."""

    data: bytes = b""
    unenforced: tuple[str, ...] = ()
    seconds: float = 0.0
    """Duration of the compilation."""
    failure: Failure | None = None


READY = Answer()
OUT_OF_MEMORY = Answer(failure=Failure("MemoryError", "", ""))


def send(pipe: BinaryIO, message: Any) -> None:
    data = msgspec.msgpack.encode(message)
    pipe.write(len(data).to_bytes(8, "little") + data)
    pipe.flush()


def receive(pipe: BinaryIO, kind: Any) -> Any:
    """Reads the next message. Raises EOFError when the other side is closed."""
    head = pipe.read(8)
    data = pipe.read(int.from_bytes(head, "little")) if len(head) == 8 else b""
    if not data:
        raise EOFError
    return msgspec.msgpack.decode(data, type=kind)
