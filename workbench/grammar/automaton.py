"""A finite automaton over bytes, as tables: small, independent of any vocabulary, quick to load and to run."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

Array = np.ndarray[Any, Any]
DEAD = -1


@dataclass(frozen=True, eq=False)
class Automaton:
    """A deterministic automaton. State 0 is the start, and an end can be reached from every state."""

    class_of: Array
    """Class of each byte, uint8 [256]. Bytes of one class lead to the same states everywhere."""
    next: Array
    """Next states, int32 [states, classes]; DEAD where no text continues."""
    is_final: Array
    """Flags, bool [states]: the text may end in this state."""

    @property
    def num_bytes(self) -> int:
        return int(self.next.nbytes + self.is_final.nbytes)

    def after(self, state: int, data: bytes) -> tuple[int, int]:
        """Returns (state, number of bytes) for the longest prefix of `data` that the automaton can read from `state`."""
        for i, byte in enumerate(data):
            found = int(self.next[state, self.class_of[byte]])
            if found == DEAD:
                return state, i
            state = found
        return state, len(data)

    def forced(self, state: int, most: int) -> bytes:
        """Returns the bytes that must follow, at most `most`. They stop where there is a choice or the text may end."""
        found = bytearray()
        while len(found) < most and not self.is_final[state]:
            (live,) = np.nonzero(self.next[state] != DEAD)
            if len(live) != 1 or (byte := int(self._only_byte[live[0]])) < 0:
                break
            found.append(byte)
            state = int(self.next[state, live[0]])
        return bytes(found)

    @cached_property
    def _only_byte(self) -> Array:
        """Bytes that are alone in their class, int64 [classes]; -1 for larger classes."""
        counts = np.bincount(self.class_of, minlength=self.next.shape[1])
        return np.array([int(np.argmax(self.class_of == i)) if count == 1 else -1 for i, count in enumerate(counts)])

    def to_bytes(self) -> bytes:
        parts = (
            self.next.shape[1],
            *(np.ascontiguousarray(part).tobytes() for part in (self.class_of, self.next, self.is_final)),
        )
        return zlib.compress(msgspec.msgpack.encode(parts), 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> Automaton:
        """Reads what `to_bytes` wrote. Raises zlib.error, ValueError or msgspec.DecodeError for other data."""
        width, *parts = msgspec.msgpack.decode(zlib.decompress(data), type=tuple[int, bytes, bytes, bytes])
        return cls(
            np.frombuffer(parts[0], np.uint8),
            np.frombuffer(parts[1], np.int32).reshape(-1, width),
            np.frombuffer(parts[2], np.bool_),
        )
