"""Events of a step, and of what is done between two steps."""

from __future__ import annotations

from typing import Literal

import msgspec

from workbench.events.base import Event


class StepMember(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The part of one request in a step."""

    rid: str
    num_cached: int
    num_new: int
    """The number of tokens that it computed and kept: rejected drafts do not count."""
    kind: Literal["prefill", "decode"]
    num_pictured: int = 0
    """The number of those tokens that are of pictures."""


class StepExecuted(Event, frozen=True, kw_only=True, tag=True):
    """One forward pass ran. Page counts are from before the commit's own changes."""

    step: int
    members: tuple[StepMember, ...]
    plan_s: float
    execute_s: float
    commit_s: float
    overlapped_s: float = 0.0
    """Seconds of planning and committing it that took no time of their own, beside the computation of another step."""
    budget_left: int
    """The number of prefill tokens that the step could still have taken."""
    num_waiting: int
    pages_free: int
    pages_tree: int
    pages_owned: int


class BandwidthMeasured(Event, frozen=True, kw_only=True, tag=True):
    """The memory of the engine's machine was read for a while, to see how fast that is."""

    bytes_per_s: float


class SnapshotTaken(Event, frozen=True, kw_only=True, tag=True):
    """A snapshot of the engine's state ends here (`engine/snapshot.py`); the events before this one hold it whole."""

    number: int
    """The number of this event in the engine's own log."""
    pages_free: int = 0
    pages_tree: int = 0
    pages_owned: int = 0
