"""Random regular expressions: sequences, alternatives and repetitions of a few characters."""

from __future__ import annotations

import random
from collections.abc import Sequence


def random_pattern(draw: random.Random, depth: int, atoms: Sequence[str]) -> str:
    """Returns an expression over `atoms` that is at most `depth` levels deep."""
    kind = draw.random()
    if depth == 0 or kind < 0.25:
        return draw.choice(atoms)
    if kind < 0.5:
        return random_pattern(draw, depth - 1, atoms) + random_pattern(draw, depth - 1, atoms)
    if kind < 0.65:
        return f"(?:{random_pattern(draw, depth - 1, atoms)}|{random_pattern(draw, depth - 1, atoms)})"
    return f"(?:{random_pattern(draw, depth - 1, atoms)})" + draw.choice(["*", "+", "?", "{1,2}", "{0,2}", "{2}", "{2,}"])
