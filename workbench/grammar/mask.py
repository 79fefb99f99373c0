"""Token masks: one bit per token, int32 [ceil(V / 32)], bit i of the whole for token i. 1 allows the token."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.grammar.matcher import Matcher

Mask = np.ndarray[Any, np.dtype[np.int32]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


def empty_mask(vocab_size: int) -> Mask:
    """Returns a mask that allows nothing."""
    return np.zeros(-(-vocab_size // 32), dtype=np.int32)


def unpack(mask: Mask, vocab_size: int) -> Flags:
    """Returns bool [V]: the flags of a mask."""
    return np.unpackbits(mask.view(np.uint8), bitorder="little")[:vocab_size].astype(bool)


def pack(flags: np.ndarray[Any, Any]) -> Mask:
    """Returns the mask of flags [V]; bits beyond V are 0."""
    padded = np.zeros(-(-len(flags) // 32) * 32, dtype=bool)
    padded[: len(flags)] = flags
    return np.packbits(padded, bitorder="little").view(np.int32)


def allowed_flags(matcher: Matcher, vocab_size: int) -> Flags:
    """Returns bool [V]: the tokens that may come next, stop tokens included. Reads only."""
    mask = empty_mask(vocab_size)
    matcher.fill_mask(mask)
    return unpack(mask, vocab_size)
