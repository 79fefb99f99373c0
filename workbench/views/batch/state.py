"""Values that the batch timeline keeps: steps with their members, and the lives of requests."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import msgspec

from workbench.events import StepMember

Kind = Literal["wait", "compile", "prefill", "decode", "paused"]
KINDS: tuple[Kind, ...] = ("wait", "compile", "prefill", "decode", "paused")
MAX_REASONS = 4
"""Reasons to wait that are kept for one stretch."""
MAX_STRETCHES = 120
"""Stretches that are kept of one request; above that the two oldest become one."""
OWN = ("in_step", "number", "first_ids", "is_parted", "lane", "said")
"""Fields of a life that are not part of its facts."""


class DrawnStep(msgspec.Struct, frozen=True, gc=False):
    """One forward pass. Durations in seconds; `num_waiting` and `retracted` are those of its plan.

    `gc=False`: a fold keeps thousands, and a garbage collector that walks through them stops the engine meanwhile.
    """

    number: int
    start: float
    end: float
    plan_s: float
    execute_s: float
    commit_s: float
    members: tuple[StepMember, ...]
    num_prefill: int
    """Prompt tokens computed."""
    num_decode: int
    """Output tokens computed."""
    num_pictured: int
    """Tokens of pictures among both."""
    num_reused: int
    """Tokens that requests admitted in it took from the cache."""
    budget_left: int
    num_waiting: int
    admitted: tuple[str, ...] = ()
    retracted: tuple[str, ...] = ()

    @property
    def rids(self) -> tuple[str, ...]:
        return tuple(member.rid for member in self.members)


@dataclass(slots=True)
class Stretch:
    """One part of a request's life. Times are those of the log; steps are 0 outside of any.

    wait: in the queue. compile: its constraint is being compiled. prefill: one chunk of its prompt. decode: steps in a row, each
    for one token and the text that a grammar forced. paused: in the batch, while a step was made without it.
    """

    kind: Kind
    start: float
    end: float | None
    """None while it lasts."""
    first_step: int = 0
    last_step: int = 0
    num_tokens: int = 0
    """Tokens computed in it."""
    note: str = ""

    def add_reason(self, reason: str) -> None:
        """Adds a reason to wait to the note: each once, in the order in which they came, and not too many."""
        if reason not in self.note and self.note.count("; then ") < MAX_REASONS:
            self.note = f"{self.note}; then {reason}" if self.note else reason


@dataclass(slots=True)
class Life:
    """One request, as far as the log has come."""

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
    """Latest reason to wait, in words."""
    blocked_by: str = ""
    ended: float | None = None
    finish: str = ""
    stretches: list[Stretch] = field(default_factory=list)
    in_step: int = -1
    """Steps made before the last one that it was in."""
    number: int = 0
    """Requests that arrived before it."""
    first_ids: tuple[int, ...] = ()
    """Tokens that tell its prompt from others: the first, or where it `is_parted`, the first that the cache did not have."""
    origin: str = ""
    """Client that sent it, in words; empty for a call from Python."""
    is_parted: bool = False
    prompt: str = ""
    """Text of `first_ids` in one line, made when it is first drawn."""
    lane: dict[str, Any] | None = None
    """Its row as JSON, once it has ended and been drawn; None again when an event adds to it."""
    said: tuple[float, str] | None = None
    """Time and words of its last sentence; None when an event other than a step or a token came since."""

    def parts(self, kind: Kind) -> list[Stretch]:
        return [part for part in self.stretches if part.kind == kind]

    def seconds(self, now: float) -> dict[Kind, float]:
        """Returns the seconds that it has spent in each kind of stretch, in the order of `KINDS`."""
        sums = dict.fromkeys(KINDS, 0.0)
        for part in self.stretches:
            sums[part.kind] += (now if part.end is None else part.end) - part.start
        return sums

    def copy(self) -> Life:
        return replace(self, stretches=[replace(part) for part in self.stretches], lane=None, said=None)

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name not in OWN}

    # -- changes ------------------------------------------------------------------------------------------------

    def begin(self, stretch: Stretch) -> None:
        """Begins a stretch."""
        self.stretches.append(stretch)
        if len(self.stretches) > MAX_STRETCHES:
            first, second = self.stretches[:2]
            second.start, second.num_tokens = first.start, first.num_tokens + second.num_tokens
            second.first_step = first.first_step or second.first_step
            del self.stretches[0]

    def end_stretch(self, time: float) -> None:
        """Ends the last stretch, where it lasts."""
        if self.stretches and self.stretches[-1].end is None:
            self.stretches[-1].end = time

    def wait(self, kind: Kind, reason: str, time: float) -> None:
        """Notes why it waits; a wait for something of another kind is a stretch of its own."""
        self.waits_for = reason
        current = self.stretches[-1]
        if current.kind != kind and current.end is None and current.start < time:
            self.end_stretch(time)
            self.begin(Stretch(kind, time, None, note=reason))
        else:
            current.kind = kind
            current.add_reason(reason)

    def pause(self, num_steps: int, until: float) -> None:
        """Adds a pause where steps were made without it, though it was in the batch. `num_steps` were made in all."""
        last = self.stretches[-1].end
        if self.in_step < num_steps - 1 and last is not None and last < until:
            self.begin(Stretch("paused", last, until))

    def with_pause(self, num_steps: int) -> Life:
        """Returns a copy that ends with a pause, where it missed the last of `num_steps` steps; else itself."""
        last = self.stretches[-1].end
        if self.phase != "running" or self.in_step >= num_steps - 1 or last is None:
            return self
        return replace(self, stretches=[*self.stretches, Stretch("paused", last, None)])

    def work(self, member: StepMember, step: DrawnStep, num_steps: int) -> None:
        """Adds its part of a step, which is step number `num_steps` from 0. A stretch ends where the life ends, if it ended."""
        self.lane = None
        end = step.end if self.ended is None else min(step.end, self.ended)
        if self.stretches[-1].kind == "paused":  # a pause up to its end, which was in this step
            del self.stretches[-1]
        goes_on = self.in_step == num_steps - 1
        self.pause(num_steps, step.start)
        current = self.stretches[-1]
        if goes_on and current.kind == member.kind == "decode":
            current.end, current.last_step, current.num_tokens = end, step.number, current.num_tokens + member.num_new
        elif self.phase != "waiting":
            start = max(step.start, current.end if current.end is not None else current.start)
            self.begin(Stretch(member.kind, start, max(end, start), step.number, step.number, member.num_new))
        self.in_step = num_steps
