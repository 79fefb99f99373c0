"""The answer of `engine.explain(rid)`: where one request's time went, in a sentence, from the event log alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from msgspec import structs

from workbench.errors import InvalidRequest
from workbench.events import (
    Event,
    EventLog,
    GrammarCompiled,
    PrefixMatched,
    RequestArrived,
    RequestFinished,
    RequestRetracted,
    RequestScheduled,
    RequestWaited,
    RequestWaiting,
    TokenSampled,
)
from workbench.html.parts import duration, plural
from workbench.text.readable import no_text
from workbench.why.prefix.reasons import why_no_more
from workbench.why.request import picture
from workbench.why.request.spans import LifeSpan, spans_of
from workbench.why.request.waits import in_sentence, waits_of

KINDS = (
    RequestArrived | GrammarCompiled | PrefixMatched | RequestWaiting | RequestWaited | RequestScheduled | TokenSampled
    | RequestRetracted | RequestFinished
)  # fmt: skip
"""The events of a request that an explanation reads."""
E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Explanation:
    """An account of one request's time. Prints as its sentence."""

    rid: str
    sentence: str
    spans: tuple[LifeSpan, ...]
    """The parts of its life in order."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Seconds and counts, as plain JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the sentence, the facts and the spans as plain JSON."""
        return {"id": self.rid, "sentence": self.sentence, **self.facts, "spans": [asdict(span) for span in self.spans]}

    def __str__(self) -> str:
        return self.sentence

    def __repr__(self) -> str:
        return picture.to_text(self.sentence, self.spans)

    def _repr_html_(self) -> str:
        return picture.to_html(self.sentence, self.spans)


def explain(log: EventLog, rid: str, now: float, decode: Callable[[Sequence[int]], str] = no_text) -> Explanation:
    """Returns the explanation of a request that runs or has ended; `decode` gives the text of tokens. Reads only.

    Raises InvalidRequest if the log holds nothing of the request, or no longer.
    """
    events = request_events(log, rid)
    spans = spans_of(events, now)
    life = _Life(events, spans, now)
    return Explanation(rid, life.sentence(rid, decode), tuple(spans), life.facts())


def request_events(log: EventLog, rid: str) -> list[Event]:
    """Returns the events of the newest request of this id, its arrival first. Raises InvalidRequest if there is none."""
    events: list[Event] = [event for event in log.read()[1] if isinstance(event, KINDS) and event.rid == rid]
    arrivals = [i for i, event in enumerate(events) if isinstance(event, RequestArrived)]
    if not arrivals:
        hint = "it never existed, was too long ago, or recording is off"
        raise InvalidRequest("rid", rid, "a request whose events are in the log", hint=hint)
    return events[arrivals[-1] :]  # an id may be used again once its request has ended


class _Life:
    """The facts of one request, gathered from its events."""

    def __init__(self, events: Sequence[Event], spans: Sequence[LifeSpan], now: float) -> None:
        arrived = events[0]
        assert isinstance(arrived, RequestArrived)
        self.num_prompt = arrived.num_prompt
        self.origin = arrived.origin
        self.finished = _first(events, RequestFinished)
        self.matched = _first(events, PrefixMatched)
        self.compiled = _first(events, GrammarCompiled)
        self.retracted = [event for event in events if isinstance(event, RequestRetracted)]
        self.num_output = sum(isinstance(event, TokenSampled) for event in events)
        self.num_cached = self.matched.num_cached if self.matched else 0
        self.waits = waits_of(events, now)
        self.total_s = (self.finished.time if self.finished else now) - arrived.time
        self.took = {kind: sum(span.duration_s for span in spans if span.kind == kind) for kind in ("wait", "prefill", "decode")}

    def sentence(self, rid: str, decode: Callable[[Sequence[int]], str]) -> str:
        """Returns the whole life in one sentence."""
        parts = [
            f"{duration(self.took['wait'])} waiting{in_sentence(self.waits)}",
            f"{duration(self.took['prefill'])} computing {self.num_prompt - self.num_cached} of"
            f" {plural(self.num_prompt, 'prompt token')} ({self.num_cached} reused{self._why_no_more(decode)})",
            f"{duration(self.took['decode'])} for {plural(self.num_output, 'output token')}",
        ]
        if self.compiled is not None:
            parts.append(_compiled(self.compiled))
        if self.retracted:
            lost = plural(sum(event.num_lost for event in self.retracted), "token")
            times = plural(len(self.retracted), "time")
            last = self.retracted[-1]
            cause = f"for {last.needed_by}" if last.needed_by else f"when {last.cause}"
            parts.append(f"retracted {times}, {lost} given up {cause}")
        state = f"{'took' if self.finished else 'has run for'} {duration(self.total_s)}"
        sender = f" (sent by {self.origin})" if self.origin else ""
        return f"{rid}{sender} {state}: {', '.join(parts)}{self._ending()}."

    def facts(self) -> dict[str, Any]:
        """Returns the numbers behind the sentence."""
        return {
            "origin": self.origin, "total_s": self.total_s, "wait_s": self.took["wait"], "prefill_s": self.took["prefill"],
            "decode_s": self.took["decode"], "prompt_tokens": self.num_prompt, "cached_tokens": self.num_cached,
            "completion_tokens": self.num_output, "retractions": len(self.retracted),
            "waited_for": sorted({part.blocked_by for part in self.waits if part.blocked_by}),
            "waited": [structs.asdict(part) for part in self.waits],
            "compiled": self.compiled
            and {name: value for name, value in structs.asdict(self.compiled).items() if name not in ("time", "rid")},
            "cache_reason": self.matched.reason if self.matched else None,
            "finish": self.finished.reason if self.finished else None,
        }  # fmt: skip

    def _why_no_more(self, decode: Callable[[Sequence[int]], str]) -> str:
        if (matched := self.matched) is None:
            return ""
        words = why_no_more(
            matched.reason, matched.num_cached, evicted_ago=matched.evicted_ago, elsewhere=matched.elsewhere,
            stored=decode(matched.expected), asked=decode(matched.asked),
        )  # fmt: skip
        return words and f", {words}"

    def _ending(self) -> str:
        if self.finished is None:
            return ""
        return f"; ended by {self.finished.reason}{f' ({self.finished.detail})' if self.finished.detail else ''}"


def _compiled(event: GrammarCompiled) -> str:
    """Returns how the constraint became ready, in words."""
    how = f"{event.backend}, {event.num_bytes / 1e6:.2f} MB"
    if event.is_cached:
        return f"its {event.kind} compiled before ({how})"
    where = "in a child process" if event.where == "child" else "before it arrived, on its caller's thread"
    return f"its {event.kind} compiled in {duration(event.seconds)} {where} ({how})"


def _first(events: Sequence[Event], kind: type[E]) -> E | None:
    return next((event for event in events if isinstance(event, kind)), None)
