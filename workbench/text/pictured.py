"""Texts of token ids among which pictures stand, as the radix tree has them: a number below 0 for each token of a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

Decode = Callable[[Sequence[int]], str]
ADAPTED = 1 << 30
"""Number that is added to the first token of a prompt for adapted weights, so that none of its K/V is another prompt's."""
ADAPTED_WORDS = "[adapted] "
"""Stands in front of such a prompt in a text that a person reads."""


def naming_pictures(decode: Decode) -> Decode:
    """Returns the function with words in the place of each picture: "[picture 3: 576 tokens]", and in front of a prompt for
    adapted weights."""

    def named(ids: Sequence[int]) -> str:
        if ids and ids[0] > ADAPTED // 2:
            return ADAPTED_WORDS + named((ids[0] - ADAPTED, *ids[1:]))
        if not ids or min(ids) >= 0:
            return decode(ids)
        runs = [(key, [*run]) for key, run in groupby(ids, lambda token: min(token, 0))]
        return "".join(decode(run) if key == 0 else picture_words(-key, len(run)) for key, run in runs)

    return named


def picture_words(number: int, num_tokens: int) -> str:
    """Returns what stands for a picture in a text that a person reads."""
    return f"[picture {number}: {num_tokens:,} token{'s' * (num_tokens != 1)}]"
