"""The parts of a program's run, folded from its events and from those of its requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from workbench.events import (
    Event,
    PartFinished,
    PartReached,
    ProgramFinished,
    ProgramStarted,
    RequestArrived,
    RequestFinished,
    RequestLinked,
    RequestScheduled,
    TokenSampled,
)
from workbench.html.parts import duration, plural
from workbench.views.completion import Timings

ASKED = ("gen", "select")
MAX_LIVE = 2000
"""Tokens of an unfinished text that are kept to be shown."""


@dataclass
class Part:
    """One part of the prompt. What the log does not report is None."""

    number: int
    kind: str
    name: str
    text: str
    """Literal text, or what was generated or chosen."""
    detail: str
    place: str
    started: float
    rid: str = ""
    is_done: bool = False
    seconds: float | None = None
    num_prompt: int | None = None
    num_cached: int | None = None
    num_output: int | None = None
    num_requests: int = 1
    finish: str = ""
    samples: tuple[str, ...] = ()
    """Further texts, where several were asked for."""
    scores: tuple[tuple[str, str], ...] = ()
    logprobs: tuple[tuple[str, float], ...] = ()
    replayed: bool = False
    timings: Timings | None = None
    branches: list[list[Part]] = field(default_factory=list)
    """Parts of each branch of a fork."""
    live_ids: list[int] = field(default_factory=list)
    """Tokens so far of an unfinished generation."""

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}".strip()

    @property
    def facts(self) -> str:
        """Tokens, reuse and time in one line."""
        if self.replayed:
            return f"{'edited' if self.finish == 'edited' else 'kept from the run before'}, nothing was asked"
        if not self.is_done:
            return f"under way, {plural(len(self.live_ids), 'token')} so far" if self.live_ids else "not finished"
        words = [plural(len(self.scores), "option")] if self.scores else []
        words += [plural(self.num_output, "token")] if self.num_output else []
        words += [self.finish] if self.finish else []
        if self.num_prompt is not None:
            read = plural(self.num_prompt, "prompt token")
            words.append(read if self.num_cached is None else f"{self.num_cached:,} of {read} reused")
        return ", ".join([*words, *([] if self.seconds is None else [duration(self.seconds)])])

    @property
    def requests(self) -> str:
        """Ids of its requests, as `explain` takes them."""
        several = self.kind == "select" or self.num_requests > 1
        return f"{self.rid}-0 to {self.rid}-{self.num_requests - 1}" if self.rid and several else self.rid

    def to_dict(self) -> dict[str, Any]:
        shown = ("kind", "name", "text", "detail", "place", "rid", "seconds", "num_prompt", "num_cached", "num_output", "finish")
        known = {name: getattr(self, name) for name in shown if getattr(self, name) not in ("", None)}
        more = {"scores": [list(pair) for pair in self.scores], "logprobs": [list(pair) for pair in self.logprobs],
                "branches": [[part.to_dict() for part in branch] for branch in self.branches]}  # fmt: skip
        return known | {name: value for name, value in more.items() if value}


class ProgramRun:
    """One run of a program. `apply` takes its own events, and those of the requests that it made to an engine."""

    def __init__(self) -> None:
        self.start: ProgramStarted | None = None
        self.end: ProgramFinished | None = None
        self.branches: dict[tuple[int, ...], list[Part]] = {(): []}
        self.by_rid: dict[str, Part] = {}
        self._parts: dict[int, Part] = {}
        self._seen: dict[str, list[Event]] = {}
        """Events of each request from which its timings are made."""

    @property
    def name(self) -> str:
        return self.start.name if self.start is not None else ""

    @property
    def parts(self) -> list[Part]:
        """Parts of the root; those of branches are in their forks."""
        return self.branches[()]

    def apply(self, event: Event) -> None:
        """Changes the run by its next event."""
        match event:
            case ProgramStarted():
                self.start = event
            case PartReached():
                self._reach(event)
            case RequestLinked(part=number, rid=rid):
                self._parts[number].rid = rid
                self.by_rid[rid], self._seen[rid] = self._parts[number], []
            case PartFinished():
                _finish(self._parts[event.part], event)
            case ProgramFinished():
                self.end = event
            case RequestArrived(rid=rid) | RequestScheduled(rid=rid) | TokenSampled(rid=rid) | RequestFinished(rid=rid):
                if rid in self.by_rid:
                    self._add(self.by_rid[rid], event)

    def _reach(self, event: PartReached) -> None:
        part = Part(event.part, event.kind, event.name, event.text, event.detail, event.place, event.time)
        self._parts[event.part] = part
        if event.kind == "fork":
            self._open_branches(part, event.branch)
        self.branches[event.branch].append(part)

    def _open_branches(self, fork: Part, branch: tuple[int, ...]) -> None:
        """Makes the branches of a fork. Those of the k-th fork of a branch b are (*b, k, 0), (*b, k, 1), ..."""
        number = sum(part.kind == "fork" for part in self.branches[branch])
        fork.branches = [[] for _ in range(int(fork.detail.split()[0]))]
        self.branches |= {(*branch, number, i): children for i, children in enumerate(fork.branches)}

    def _add(self, part: Part, event: Event) -> None:
        """Updates the text so far, and when the request is over, how long each of its stages took."""
        if isinstance(event, TokenSampled):
            if not part.is_done and event.position < MAX_LIVE:
                part.live_ids[event.position :] = [event.token_id]
            if event.forced or any(isinstance(one, TokenSampled) for one in self._seen[part.rid]):
                return
        if isinstance(event, RequestArrived):
            self._seen[part.rid].clear()  # a snapshot repeats it
        self._seen[part.rid].append(event)
        if isinstance(event, RequestFinished):
            part.timings = Timings.of(self._seen[part.rid], part.rid)


def _finish(part: Part, event: PartFinished) -> None:
    part.text, part.is_done, part.seconds, part.replayed = event.text, True, event.time - part.started, event.replayed
    if not event.replayed:
        part.num_prompt, part.num_cached, part.num_output = event.num_prompt, event.num_cached, event.num_output
    part.finish, part.scores, part.logprobs = event.finish, event.scores, event.logprobs
    part.live_ids = []
    part.num_requests, part.samples = event.num_requests, event.samples
