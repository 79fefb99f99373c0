"""Events of a step, and of what is done between two steps."""

from __future__ import annotations

from typing import Literal

import msgspec

from workbench.events.base import Event


class StepMember(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The part of one request in a step."""

    rid: str
    """Id of the request."""
    num_cached: int
    """Number of its tokens whose K/V was there before the step."""
    num_new: int
    """The number of tokens that it computed and kept: rejected drafts do not count."""
    kind: Literal["prefill", "decode"]
    """The kind of work: tokens of the prompt, or the next token of the output."""
    num_pictured: int = 0
    """The number of those tokens that are of pictures."""


class StepExecuted(Event, frozen=True, kw_only=True, tag=True):
    """One forward pass ran. Page counts are from before the commit's own changes."""

    step: int
    """Number of the step, from 1."""
    members: tuple[StepMember, ...]
    """The parts of all requests in the step."""
    plan_s: float
    """Seconds of deciding what the step computes."""
    execute_s: float
    """Seconds of the forward pass, with masks and sampling."""
    commit_s: float
    """Seconds of applying the result."""
    overlapped_s: float = 0.0
    """Seconds of planning and committing it that took no time of their own, beside the computation of another step."""
    budget_left: int
    """The number of prefill tokens that the step could still have taken."""
    num_waiting: int
    """Number of requests in the queue."""
    pages_free: int
    """Number of free pages."""
    pages_tree: int
    """Number of pages of the prefix cache."""
    pages_owned: int
    """Number of pages that running requests hold alone."""

    @property
    def num_held(self) -> int:
        return len(self.members)


class BandwidthMeasured(Event, frozen=True, kw_only=True, tag=True):
    """The memory of the engine's machine was read for a while, to see how fast that is."""

    bytes_per_s: float
    """Bytes that were read in a second."""


class SnapshotTaken(Event, frozen=True, kw_only=True, tag=True):
    """A snapshot of the engine's state ends here (`engine/snapshot.py`); the events before this one hold it whole."""

    number: int
    """The number of this event in the engine's own log."""
    pages_free: int = 0
    """Number of free pages."""
    pages_tree: int = 0
    """Number of pages of the prefix cache."""
    pages_owned: int = 0
    """Number of pages that running requests hold alone."""
