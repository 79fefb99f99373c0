"""A channel between two processes of one machine: typed messages in msgpack, over two one-way ZeroMQ sockets.

The sockets are files in a folder that only this user may enter; where there are no socket files, they are loopback ports.
"""

from __future__ import annotations

import os
import tempfile
import threading
from typing import Any, Generic, TypeVar

import msgspec
import zmq

from workbench.wire_error import encode

In = TypeVar("In")


class Channel(Generic[In]):
    """One end. Any thread may send; one thread receives messages of type `In`."""

    def __init__(self, incoming: Any, addresses: tuple[str, str] | None = None, send_wait_ms: int = -1) -> None:
        """Makes a channel, or connects to the other end of the one that is at `addresses`.

        `incoming` is the type `In`, which may be a union. `send_wait_ms` limits the wait of one `send`; -1 waits for ever.
        """
        self._decoder: msgspec.msgpack.Decoder[In] = msgspec.msgpack.Decoder(incoming)
        self._context = zmq.Context()
        self._out, self._in = self._context.socket(zmq.PUSH), self._context.socket(zmq.PULL)
        self._out.sndtimeo = send_wait_ms
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if addresses is None:
            self._folder = tempfile.TemporaryDirectory(prefix="workbench-")
            self.addresses = (self._bind(self._out, "down"), self._bind(self._in, "up"))
        else:
            self.addresses = addresses
            self._in.connect(addresses[0])
            self._out.connect(addresses[1])

    @property
    def folder(self) -> str:
        """The folder of the socket files, at the end that made the channel."""
        return "" if self._folder is None else self._folder.name

    def send(self, message: msgspec.Struct) -> bool:
        """Sends a message. Returns False if this end is closed, or if the other end took none for `send_wait_ms`."""
        data = encode(message)
        with self._lock:
            if self._out.closed:
                return False
            try:
                self._out.send(data)
            except zmq.Again:
                return False
        return True

    def receive(self, wait_ms: int = -1) -> In | None:
        """Returns the next message, None if there is none for `wait_ms` (-1 waits for ever).

        Raises `msgspec.ValidationError` for a message of another type.
        """
        return self._decoder.decode(self._in.recv()) if self._in.poll(wait_ms) else None

    def close(self) -> None:
        """Closes this end, and removes the socket files where it made them. Messages that were not taken are lost."""
        with self._lock:
            self._out.close(0)
        self._in.close(0)
        self._context.term()
        if self._folder is not None:
            self._folder.cleanup()

    def _bind(self, socket: zmq.Socket[bytes], name: str) -> str:
        if os.name == "posix":
            address = f"ipc://{self.folder}/{name}"
            socket.bind(address)
            return address
        return f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"
