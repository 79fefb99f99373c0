"""Typed facts about the engine, in the past tense and with their reasons, in one bounded, numbered log.

Views, metrics, explanations, recordings and tests read this log and nothing else.
"""

from __future__ import annotations

from workbench.events.base import Event
from workbench.events.cache import (
    MAX_USERS,
    CacheFlushed,
    NodeAdded,
    NodeEvicted,
    NodeSplit,
    PagesReturned,
    PagesTaken,
    PathHeld,
    PathReleased,
    Taken,
)
from workbench.events.log import EventLog
from workbench.events.program import PartFinished, PartReached, ProgramFinished, ProgramStarted, RequestLinked
from workbench.events.request import (
    NUM_FIRST,
    NUM_SHOWN,
    GrammarCompiled,
    MatchReason,
    PictureNumbered,
    PrefixMatched,
    RequestArrived,
    RequestFinished,
    RequestRetracted,
    RequestScheduled,
    RequestWaited,
    RequestWaiting,
    TokenDetail,
    TokenSampled,
    Waited,
    WaitReason,
)
from workbench.events.step import BandwidthMeasured, SnapshotTaken, StepExecuted, StepMember

AnyEvent = (
    RequestArrived | PictureNumbered | GrammarCompiled | PrefixMatched | RequestWaiting | RequestWaited | RequestScheduled
    | StepExecuted | PagesTaken | PagesReturned | TokenSampled | NodeAdded | NodeSplit | NodeEvicted | PathHeld | PathReleased
    | RequestRetracted | RequestFinished | CacheFlushed | SnapshotTaken | BandwidthMeasured
    | ProgramStarted | PartReached | RequestLinked | PartFinished | ProgramFinished
)  # fmt: skip
"""The union of all events, for decoders."""

__all__ = [
    "AnyEvent",
    "BandwidthMeasured",
    "CacheFlushed",
    "Event",
    "EventLog",
    "GrammarCompiled",
    "MatchReason",
    "MAX_USERS",
    "NUM_FIRST",
    "NUM_SHOWN",
    "NodeAdded",
    "NodeEvicted",
    "NodeSplit",
    "PagesReturned",
    "PagesTaken",
    "PartFinished",
    "PartReached",
    "PathHeld",
    "PathReleased",
    "PictureNumbered",
    "PrefixMatched",
    "ProgramFinished",
    "ProgramStarted",
    "RequestArrived",
    "RequestFinished",
    "RequestLinked",
    "RequestRetracted",
    "RequestScheduled",
    "RequestWaited",
    "RequestWaiting",
    "SnapshotTaken",
    "StepExecuted",
    "StepMember",
    "Taken",
    "TokenDetail",
    "TokenSampled",
    "WaitReason",
    "Waited",
]
