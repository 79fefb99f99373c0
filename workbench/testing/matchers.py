"""Constraints without a grammar."""

from __future__ import annotations

import numpy as np

from workbench.grammar.mask import pack
from workbench.grammar.matcher import Made


class AllowTokens:
    """A matcher that allows the given token ids at every position."""

    made: Made | None = None
    unenforced: tuple[str, ...] = ()
    is_complete = True
    is_finished = False

    def __init__(self, *token_ids: int) -> None:
        self.token_ids = token_ids

    def fill_mask(self, mask: np.ndarray) -> None:
        """Sets the bits of the allowed tokens in `mask`, int32 [ceil(V / 32)]."""
        flags = np.zeros(mask.size * 32, dtype=bool)
        flags[list(self.token_ids)] = True
        mask[:] = pack(flags)

    def accept(self, token_id: int) -> None:
        """Asserts that the token is allowed."""
        assert token_id in self.token_ids

    def forced(self) -> bytes:
        """Returns no text: nothing is forced."""
        return b""


class AllowAll(AllowTokens):
    """A matcher that allows every token."""

    def fill_mask(self, mask: np.ndarray) -> None:
        """Sets all bits of `mask`."""
        mask[:] = -1

    def accept(self, token_id: int) -> None:
        """Accepts the token."""


class BrokenMatcher(AllowTokens):
    """A matcher that fails when its mask is needed."""

    def fill_mask(self, mask: np.ndarray) -> None:
        """Raises ValueError."""
        raise ValueError("no such state")
