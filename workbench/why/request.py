"""`engine.explain(rid)`: where one request's time went, in a sentence, from the event log alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

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
    Waited,
)
from workbench.text.readable import no_text
from workbench.why import request_picture as view
from workbench.why.cache_reasons import parted, why_no_more
from workbench.why.request_picture import Span

KINDS = (
    RequestArrived | GrammarCompiled | PrefixMatched | RequestWaiting | RequestWaited | RequestScheduled | TokenSampled
    | RequestRetracted | RequestFinished
)  # fmt: skip


@dataclass(frozen=True)
class Explanation:
    """`spans` are the parts of its life in order, in seconds since it arrived."""

    rid: str
    sentence: str
    spans: tuple[Span, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.rid, "sentence": self.sentence, **self.facts, "spans": [asdict(span) for span in self.spans]}

    def __str__(self) -> str:
        return self.sentence

    def __repr__(self) -> str:
        return view.to_text(self.sentence, self.spans)

    def _repr_html_(self) -> str:
        return view.to_html(self.sentence, self.spans)


def explain(log: EventLog, rid: str, now: float, decode: Callable[[Sequence[int]], str] = no_text) -> Explanation:
    """Reads only; `decode` gives the text of tokens.

    Raises `InvalidRequest` when the log holds nothing of the request (any more).
    """
    events = [event for event in log.read()[1] if isinstance(event, KINDS) and event.rid == rid]
    arrivals = [i for i, event in enumerate(events) if isinstance(event, RequestArrived)]
    if not arrivals:
        raise InvalidRequest(
            "rid", rid, "a request whose events are in the log", hint="it never existed, was too long ago, or recording is off"
        )
    events = events[arrivals[-1] :]  # an id may be used again once its request has ended
    arrived = events[0]
    assert isinstance(arrived, RequestArrived)
    spans = _spans(events, now)
    finished = next((event for event in events if isinstance(event, RequestFinished)), None)
    matched = next((event for event in events if isinstance(event, PrefixMatched)), None)
    retracted = [event for event in events if isinstance(event, RequestRetracted)]
    num_output = sum(isinstance(event, TokenSampled) for event in events)
    cached = matched.num_cached if matched else 0
    waits = _waits(events, now)
    compiled = next((event for event in events if isinstance(event, GrammarCompiled)), None)
    took = {kind: sum(span.duration_s for span in spans if span.kind == kind) for kind in ("wait", "prefill", "decode")}
    total = (finished.time if finished else now) - arrived.time
    parts = [
        f"{_ms(took['wait'])} waiting{_for_what(waits)}",
        f"{_ms(took['prefill'])} computing {arrived.num_prompt - cached} of {arrived.num_prompt} prompt tokens"
        f" ({cached} reused{_why(matched, decode)})",
        f"{_ms(took['decode'])} for {num_output} output tokens",
    ]
    if compiled is not None:
        parts.append(_compiled(compiled))
    if retracted:
        lost = sum(event.num_lost for event in retracted)
        parts.append(
            f"retracted {len(retracted)} time{'s' * (len(retracted) > 1)}, {lost} tokens given up for {retracted[-1].needed_by}"
        )
    state = f"took {_ms(total)}" if finished else f"has run for {_ms(total)}"
    ending = f"; ended by {finished.reason}{' (' + finished.detail + ')' if finished.detail else ''}" if finished else ""
    facts = {
        "total_s": total, "wait_s": took["wait"], "prefill_s": took["prefill"], "decode_s": took["decode"],
        "prompt_tokens": arrived.num_prompt, "cached_tokens": cached, "completion_tokens": num_output,
        "retractions": len(retracted), "waited_for": sorted({part.blocked_by for part in waits if part.blocked_by}),
        "waited": [structs.asdict(part) for part in waits],
        "compiled": compiled and {name: value for name, value in structs.asdict(compiled).items() if name not in ("time", "rid")},
        "cache_reason": matched.reason if matched else None, "finish": finished.reason if finished else None,
    }  # fmt: skip
    return Explanation(rid, f"{rid} {state}: {', '.join(parts)}{ending}.", tuple(spans), facts)


def _spans(events: Sequence[Event], now: float) -> list[Span]:
    """The life as stretches of wait, prefill, decode; a retraction begins a new wait."""
    start = events[0].time
    spans: list[Span] = []
    kind, since, note, is_compiled = "wait", start, "", False

    def close(until: float) -> None:
        if until > since or kind != "wait":
            label = "compile" if note == "compiling" else "queue" if kind == "wait" else kind
            spans.append(Span(label, since - start, until - since, kind, note))

    for event in events[1:]:
        match event:
            case GrammarCompiled():
                is_compiled = True
                if note == "compiling":
                    close(event.time)
                    since, note = event.time, ""
                continue
            case RequestWaiting() | RequestWaited() as told:
                cause = told if isinstance(told, RequestWaiting) else told.parts[0]
                if not note.startswith("retracted") and not (is_compiled and cause.reason == "compiling"):
                    note = view.behind(cause.reason, cause.blocked_by)
                continue
            case RequestScheduled():
                new, new_note = "prefill", f"{event.num_pending} computed, {event.num_cached} reused"
            case TokenSampled(forced=False) if kind == "prefill":
                new, new_note = "decode", ""
            case RequestRetracted():
                new, new_note = "wait", f"retracted: {event.needed_by} needed the space"
            case RequestFinished():
                break
            case _:
                continue
        close(event.time)
        kind, since, note = new, event.time, new_note
    end = events[-1].time if isinstance(events[-1], RequestFinished) else now
    close(end)
    return spans


def _compiled(event: GrammarCompiled) -> str:
    """How the constraint became ready, in words."""
    how = f"{event.backend}, {event.num_bytes / 1e6:.2f} MB"
    if event.is_cached:
        return f"its {event.kind} known already ({how})"
    where = "in a child process" if event.where == "child" else "before it arrived, on its caller's thread"
    return f"its {event.kind} compiled in {_ms(event.seconds)} {where} ({how})"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def _waits(events: Sequence[Event], now: float) -> list[Waited]:
    """What it waited for in all its stays in the queue, the longest first; of a stay that lasts, what was told so far."""
    ended = [part for event in events if isinstance(event, RequestWaited) for part in event.parts]
    last = max((i for i, event in enumerate(events) if isinstance(event, RequestWaited)), default=-1)
    told = [event for event in events[last + 1 :] if isinstance(event, RequestWaiting)]
    until = [*(event.time for event in told), now][1:]
    lasting = [Waited(event.reason, end - event.time, event.blocked_by) for event, end in zip(told, until, strict=True)]
    by_reason: dict[str, Waited] = {}
    for part in sorted([*ended, *lasting], key=lambda part: -part.seconds):
        first = by_reason.setdefault(part.reason, part)
        if first is not part:
            others = first.has_others or part.has_others or first.blocked_by != part.blocked_by
            by_reason[part.reason] = Waited(first.reason, first.seconds + part.seconds, first.blocked_by, others)
    return sorted(by_reason.values(), key=lambda part: -part.seconds)


def _for_what(waits: list[Waited]) -> str:
    """The sentence's words; what took no time is left out where something did."""
    shown = [part for part in waits if part.seconds >= 0.0005] or waits[:1]
    who = [f"{'longest ' * part.has_others}behind {part.blocked_by}" if part.blocked_by else "" for part in shown]
    if len(shown) < 2:
        return "".join(f" for {part.reason}{f' ({name})' * bool(name)}" for part, name in zip(shown, who, strict=True))
    parts = (f"{_ms(part.seconds)} for {part.reason}{f', {name}' * bool(name)}" for part, name in zip(shown, who, strict=True))
    return f" ({'; '.join(parts)})"


def _why(matched: PrefixMatched | None, decode: Callable[[Sequence[int]], str]) -> str:
    """Why no more of the prompt was reused, in words."""
    if matched is None:
        return ""
    if matched.reason == "diverged":
        return f", {parted(matched.num_cached, decode(matched.expected), decode(matched.asked))}"
    words = why_no_more(matched.reason, matched.num_cached, matched.evicted_ago, matched.elsewhere)
    return words and f", {words}"
