"""Measures that colour tokens: each in five levels, from the usual (0) to what deserves a look (4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workbench.views.tokens.state import OutputToken


@dataclass(frozen=True)
class Measure:
    words: str
    """Its meaning in words."""
    levels: tuple[str, str, str, str, str]
    """Meaning of each level."""
    level: Callable[[OutputToken], int | None]
    """Returns a token's level, None where it is not known."""
    needs_detail: bool = True


def _steps(value: float, *limits: float) -> int:
    """Counts the rising limits that the value reaches."""
    return sum(value >= limit for limit in limits)


def _probability(token: OutputToken) -> int | None:
    return None if token.detail is None else 4 - _steps(token.detail.probability, 0.01, 0.1, 0.5, 0.9)


def _entropy(token: OutputToken) -> int | None:
    return None if token.detail is None else _steps(token.detail.entropy, 0.1, 0.7, 1.5, 3.0)


def _rank(token: OutputToken) -> int | None:
    return None if token.detail is None else _steps(token.detail.rank, 2, 3, 6, 51)


def _removed(token: OutputToken) -> int | None:
    return None if token.detail is None or not token.detail.after else _steps(token.detail.removed, 0.01, 0.1, 0.5, 0.9)


def _latency(token: OutputToken) -> int | None:
    return None if token.latency_s is None else _steps(token.latency_s, 0.02, 0.05, 0.1, 0.3)


def _allowed(token: OutputToken) -> int | None:
    if token.forced:
        return 4
    return None if token.num_allowed is None else 4 - _steps(token.num_allowed, 2, 10, 100, 10_000)


MEASURES = {
    "probability": Measure(
        "how likely the model held the token", ("over 90 %", "over 50 %", "over 10 %", "over 1 %", "less"), _probability
    ),
    "entropy": Measure(
        "how undecided the model was, in nats", ("under 0.1", "under 0.7", "under 1.5", "under 3", "more"), _entropy
    ),
    "rank": Measure("the token's place in the model's order", ("first", "second", "to 5", "to 50", "beyond"), _rank),
    "removed": Measure(
        "probability that the mask removed", ("under 1 %", "under 10 %", "under 50 %", "under 90 %", "more"), _removed
    ),
    "latency": Measure(
        "time since the token before", ("under 20 ms", "under 50 ms", "under 100 ms", "under 300 ms", "more"), _latency, False
    ),
    "allowed": Measure(
        "tokens that the constraint allowed", ("10,000 or more", "100 or more", "10 or more", "2 or more", "1, or forced"),
        _allowed, False,
    ),
}  # fmt: skip


def levels(token: OutputToken) -> str:
    """Returns one digit for each measure in order, "-" where it is not known."""
    found = (measure.level(token) for measure in MEASURES.values())
    return "".join("-" if level is None else str(level) for level in found)
