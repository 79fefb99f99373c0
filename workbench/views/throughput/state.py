"""Values that the throughput view keeps: sums, and gauges over time."""

from __future__ import annotations

from dataclasses import dataclass

GAUGES = ("running", "waiting", "pages_owned", "pages_tree", "pages_free", "hit_rate", "recompute_tax")


@dataclass
class Totals:
    """Sums since the fold began, in tokens where the name says nothing else."""

    num_steps: int = 0
    step_s: float = 0.0
    """Seconds spent in steps."""
    prompt: int = 0
    """Tokens in the prompts of admitted requests; `cached` of them came from the cache."""
    cached: int = 0
    computed: int = 0
    output: int = 0
    num_retractions: int = 0
    recomputed: int = 0
    """Tokens computed a second time: a retraction had given them up, and the tree did not keep them."""
    num_finished: int = 0

    @property
    def hit_rate(self) -> float | None:
        return self.cached / self.prompt if self.prompt else None

    @property
    def recompute_tax(self) -> float:
        """Share of all computed tokens that were computed again."""
        return self.recomputed / self.computed if self.computed else 0.0


@dataclass(slots=True)
class Point:
    """A span of time: tokens in it, and the gauges at its end."""

    index: int
    output: int = 0
    computed: int = 0
    """Prompt tokens computed."""
    gauges: tuple[float | None, ...] = ()
    """Values in the order of `GAUGES`."""
    last_step: int = 0
    """Number of the last step by its end; 0 before the first."""
