"""Token masks: one bit per token, int32 [ceil(V / 32)], bit i of the whole for token i. 1 allows the token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from workbench.grammar.matcher import Matcher

Mask = np.ndarray[Any, np.dtype[np.int32]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


def num_words(vocab_size: int) -> int:
    """Returns the number of integers in a mask of `vocab_size` tokens."""
    return -(-vocab_size // 32)


def empty_mask(vocab_size: int) -> Mask:
    """Returns a mask that allows no token."""
    return np.zeros(num_words(vocab_size), dtype=np.int32)


def unpack(mask: Mask, vocab_size: int) -> Flags:
    """Returns bool [V]: the flags of a mask."""
    return np.unpackbits(mask.view(np.uint8), bitorder="little")[:vocab_size].astype(bool)


def pack(flags: np.ndarray[Any, Any]) -> Mask:
    """Returns the mask of flags [V]; bits beyond V are 0."""
    padded = np.zeros(num_words(len(flags)) * 32, dtype=bool)
    padded[: len(flags)] = flags
    return np.packbits(padded, bitorder="little").view(np.int32)


def num_allowed(mask: Mask) -> int:
    """Returns the number of tokens that a mask allows."""
    return int(np.bitwise_count(mask.view(np.uint32)).sum())


def any_allowed(mask: Mask, token_ids: Sequence[int]) -> bool:
    """Returns whether a mask allows one of these tokens."""
    ids = np.asarray(token_ids)
    return bool((mask.view(np.uint32)[ids // 32] >> (ids % 32).astype(np.uint32) & 1).any())


def allow(mask: Mask, token_ids: Iterable[int], allowed: bool) -> None:
    """Sets or clears the bits of these tokens. Changes the mask."""
    bits = mask.view(np.uint32)
    for token in token_ids:
        bit = np.uint32(1 << token % 32)
        bits[token // 32] = bits[token // 32] | bit if allowed else bits[token // 32] & ~bit


def allowed_flags(matcher: Matcher, vocab_size: int) -> Flags:
    """Returns bool [V]: the tokens that may come next, stop tokens included. Reads only."""
    mask = empty_mask(vocab_size)
    matcher.fill_mask(mask)
    return unpack(mask, vocab_size)
