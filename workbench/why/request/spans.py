"""The spans of one request's life: waiting, computing the prompt, producing output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.events import (
    Event,
    GrammarCompiled,
    RequestFinished,
    RequestRetracted,
    RequestScheduled,
    RequestWaited,
    RequestWaiting,
    TokenSampled,
    Waited,
)
from workbench.why.request.waits import behind


@dataclass(frozen=True, slots=True)
class LifeSpan:
    """One part of a request's life."""

    label: str
    start_s: float
    """Seconds since the request arrived."""
    duration_s: float
    kind: str
    """wait, prefill, decode or lost: the classes of a bar's segments (`html.parts`)."""
    note: str = ""


class _Spans:
    """Collects spans from the events of one request, in order."""

    def __init__(self, start: float) -> None:
        self.done: list[LifeSpan] = []
        self._start = self._since = start
        self._kind, self._note = "wait", ""
        self._is_compiled = False

    def close(self, until: float) -> None:
        """Ends the open span, if it has any length or is more than a wait."""
        if until > self._since or self._kind != "wait":
            label = "compile" if self._note == "compiling" else "queue" if self._kind == "wait" else self._kind
            self.done.append(LifeSpan(label, self._since - self._start, until - self._since, self._kind, self._note))

    def apply(self, event: Event) -> None:
        """Takes one event; a retraction begins a new wait."""
        match event:
            case GrammarCompiled():
                self._is_compiled = True
                if self._note == "compiling":
                    self._turn("wait", event.time, "")
            case RequestWaiting():
                self._wait(event)
            case RequestWaited():
                self._wait(event.parts[0])
            case RequestScheduled():
                self._turn("prefill", event.time, f"{event.num_pending} computed, {event.num_cached} reused")
            case TokenSampled(forced=False) if self._kind == "prefill":
                self._turn("decode", event.time, "")
            case RequestRetracted():
                self._turn("wait", event.time, f"retracted: {event.cause}")

    def _turn(self, kind: str, time: float, note: str) -> None:
        self.close(time)
        self._kind, self._since, self._note = kind, time, note

    def _wait(self, cause: RequestWaiting | Waited) -> None:
        if not self._note.startswith("retracted") and not (self._is_compiled and cause.reason == "compiling"):
            self._note = behind(cause.reason, cause.blocked_by)


def spans_of(events: Sequence[Event], now: float) -> list[LifeSpan]:
    """Returns the spans of a request whose events begin with its arrival; one that has not ended lasts until `now`."""
    spans = _Spans(events[0].time)
    for event in events[1:]:
        if isinstance(event, RequestFinished):
            break
        spans.apply(event)
    spans.close(events[-1].time if isinstance(events[-1], RequestFinished) else now)
    return spans.done
