"""Protocols of a compiled constraint and of one sequence's position in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from workbench.errors import WorkbenchError

MAX_FORCED = 4096
"""Largest number of bytes of forced text that are returned at once: more than a step should have to compute."""


class TokenRejected(WorkbenchError):
    """`accept` got a token that the grammar does not allow here: its mask was not applied."""


@dataclass(frozen=True, slots=True)
class Made:
    """The way in which a constraint was compiled."""

    backend: str
    where: Literal["thread", "child"]
    """Place of the compilation: the thread of the first caller, or a child process."""
    seconds: float
    num_bytes: int
    is_cached: bool = False
    """True if it was in the cache when this matcher was started."""


class Matcher(Protocol):
    """The position of one sequence in its grammar. Used by one thread at a time."""

    made: Made | None
    """Details of the compilation, set by the `GrammarCompiler` that started it; None for a fork."""

    @property
    def unenforced(self) -> tuple[str, ...]:
        """Parts of the constraint that no mask enforces, in words: `name: 'format' "password"`."""

    def fill_mask(self, mask: Any) -> None:
        """Writes bit i of `mask` (int32 [ceil(V / 32)], numpy) for each token i that may come next. Reads only."""

    def accept(self, token_id: int) -> None:
        """Moves past a token. Raises TokenRejected, and moves nothing, if the token is not allowed here."""

    def accept_bytes(self, data: bytes) -> int:
        """Moves past as many bytes of `data` (UTF-8) as the grammar allows here, whatever the tokens. Returns their number."""

    def forced(self) -> bytes:
        """Returns the longest text (UTF-8, perhaps ending inside a character) that every continuation starts with, as far as the
        backend computes it and up to `MAX_FORCED` bytes; empty where there is a choice or the text may end. Reads only."""

    @property
    def is_complete(self) -> bool:
        """True if the text so far satisfies the whole grammar; then, and only then, the stop tokens are allowed."""

    @property
    def is_finished(self) -> bool:
        """True if nothing can follow: a stop token came, or the text is complete and no token may extend it."""

    @property
    def num_allowed(self) -> int:
        """Returns the number of tokens that may come next."""

    def fork(self) -> Matcher:
        """Returns a copy that moves independently."""


class CompiledGrammar(Protocol):
    """A constraint ready for one vocabulary; shared by all its sequences and threads."""

    @property
    def num_bytes(self) -> int: ...

    @property
    def unenforced(self) -> tuple[str, ...]: ...

    def start(self, stop_token_ids: Iterable[int] | None = None) -> Matcher:
        """Returns a matcher at the beginning. `stop_token_ids` (the vocabulary's own when None) are allowed where the text may
        end and nowhere else; with none of them a sequence ends when `is_finished`."""
