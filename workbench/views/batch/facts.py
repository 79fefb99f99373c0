"""What the batch timeline knows: steps with their members, and the lives of requests."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import msgspec

from workbench.events import StepMember

Kind = Literal["wait", "compile", "prefill", "decode", "paused"]
OWN = ("in_step", "number", "first_ids", "is_parted", "lane", "said")
"""What a life remembers for those who draw it."""


@dataclass(slots=True)
class Stretch:
    """One part of a request's life. Times are those of the log; steps are 0 while it is in none.

    wait: in the queue; compile: its constraint is not there yet; prefill: one chunk of its prompt; decode: steps in a row,
    each for one token and what a grammar forced; paused: in the batch, while a step was made without it.
    """

    kind: Kind
    start: float
    end: float | None
    """None while it lasts."""
    first_step: int = 0
    last_step: int = 0
    num_tokens: int = 0
    """Computed in it."""
    note: str = ""


@dataclass(slots=True)
class Life:
    """One request, as far as the log has told. `waits_for` is the reason that was told last, in words."""

    rid: str
    arrived: float
    num_prompt: int
    max_new_tokens: int
    phase: Literal["waiting", "running", "ended"] = "waiting"
    num_cached: int = 0
    cache_reason: str = ""
    num_output: int = 0
    num_lost: int = 0
    """Tokens whose K/V it gave up in retractions."""
    num_retractions: int = 0
    waits_for: str = ""
    blocked_by: str = ""
    ended: float | None = None
    finish: str = ""
    stretches: list[Stretch] = field(default_factory=list)
    in_step: int = -1
    """Number of steps made so far when it was last in one."""
    number: int = 0
    """Of arrivals before it."""
    first_ids: tuple[int, ...] = ()
    """Tokens of the prompt to know it by: the first or, where it `is_parted`, the first that the cache did not have."""
    is_parted: bool = False
    prompt: str = ""
    """Their text in one line, made when it is first drawn."""
    lane: dict[str, Any] | None = None
    """As it is drawn, once it has ended and been drawn; None again when more is told of it."""
    said: tuple[float, str] | None = None
    """While it lives: when it was last put into words, and those words; None when more was told of it than steps and tokens."""

    def parts(self, kind: Kind) -> list[Stretch]:
        return [part for part in self.stretches if part.kind == kind]

    def seconds(self, now: float) -> dict[str, float]:
        """By kind of stretch, in the order of the kinds."""
        sums = dict.fromkeys(("wait", "compile", "prefill", "decode", "paused"), 0.0)
        for part in self.stretches:
            sums[part.kind] += (now if part.end is None else part.end) - part.start
        return sums

    def copy(self) -> Life:
        return replace(self, stretches=[replace(part) for part in self.stretches], lane=None, said=None)

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name not in OWN}


class Step(msgspec.Struct, frozen=True, gc=False):
    """One forward pass. Seconds; `waiting` and `retracted` are as of its plan.

    `gc=False`: a fold keeps thousands, and a collector that walks through them stands in an engine's way.
    """

    number: int
    start: float
    end: float
    plan_s: float
    execute_s: float
    commit_s: float
    members: tuple[StepMember, ...]
    num_prefill: int
    num_decode: int
    """Computed tokens of each kind."""
    num_reused: int
    """Tokens that requests admitted in it took from the cache."""
    budget_left: int
    num_waiting: int
    admitted: tuple[str, ...] = ()
    retracted: tuple[str, ...] = ()

    @property
    def rids(self) -> tuple[str, ...]:
        return tuple(member.rid for member in self.members)
