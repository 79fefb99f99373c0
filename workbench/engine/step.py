"""`Step`: one forward pass on its way through the core."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.engine.plan import StepPlan, StepResult


@dataclass(slots=True)
class Step:
    """A step on its way: planned, then executed, then committed."""

    plan: StepPlan
    plan_s: float
    num_waiting: int
    overlapped_s: float = 0.0
    """Seconds in which it was planned while the step before was computed."""
    result: StepResult | None = None
    """None before it is executed, and where that failed."""
    failure: str = ""
    execute_s: float = 0.0
