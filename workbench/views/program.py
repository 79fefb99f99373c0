"""`ProgramView`: what one run of a program wrote and asked, as a tree, folded from its events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from workbench.escape import to_html, visible
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
from workbench.views.completion import Timings
from workbench.views.parts import Segment, View, bar, duration, plural, table

ASKED = ("gen", "select")
HIDDEN = ("roleend", "varend")
TEXT_WIDTH = 100


@dataclass
class Part:
    """One part of the prompt. What was not reported is None."""

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
    finish: str = ""
    scores: tuple[tuple[str, str], ...] = ()
    logprobs: tuple[tuple[str, float], ...] = ()
    replayed: bool = False
    timings: Timings | None = None
    branches: list[list[Part]] = field(default_factory=list)
    """The children of a fork, each with its parts."""

    @property
    def facts(self) -> str:
        """Tokens, reuse and time in one line."""
        if self.replayed:
            return "given by the rerun, nothing was asked"
        if not self.is_done:
            return "not finished"
        words = [] if not self.num_output else [plural(self.num_output, "token")]
        words += [self.finish] if self.finish else []
        if self.num_prompt is not None:
            words.append(f"prompt {self.num_prompt:,}")
        if self.num_cached is not None:
            words.append(f"{self.num_cached:,} reused")
        return ", ".join([*words, *([] if self.seconds is None else [duration(self.seconds)])])

    def to_dict(self) -> dict[str, Any]:
        shown = ("kind", "name", "text", "detail", "place", "rid", "seconds", "num_prompt", "num_cached", "num_output", "finish")
        known = {name: getattr(self, name) for name in shown if getattr(self, name) not in ("", None)}
        more = {"scores": [list(pair) for pair in self.scores], "logprobs": [list(pair) for pair in self.logprobs],
                "branches": [[part.to_dict() for part in branch] for branch in self.branches]}  # fmt: skip
        return known | {name: value for name, value in more.items() if value}


@dataclass(frozen=True, repr=False)
class ProgramView(View):
    name: str
    backend: str
    model: str
    error: str
    seconds: float | None
    """None while it runs."""
    parts: list[Part]

    @classmethod
    def of(cls, events: Iterable[Event], engine_events: Iterable[Event] = ()) -> ProgramView:
        """From one program's events; those of an engine's log add where each request's time went."""
        start: ProgramStarted | None = None
        end: ProgramFinished | None = None
        parts: dict[int, Part] = {}
        branches: dict[tuple[int, ...], list[Part]] = {(): []}
        for event in events:
            match event:
                case ProgramStarted():
                    start = event
                case PartReached():
                    parts[event.part] = part = _part(event)
                    if event.kind == "fork":
                        _open_branches(part, event.branch, branches)
                    if event.kind not in HIDDEN:
                        branches[event.branch].append(part)
                case RequestLinked(part=number, rid=rid):
                    parts[number].rid = rid
                case PartFinished():
                    _finish(parts[event.part], event)
                case ProgramFinished():
                    end = event
        _add_timings({part.rid: part for part in parts.values() if part.rid}, engine_events)
        seconds = end.time - start.time if start is not None and end is not None else None
        name, backend, model = (start.name, start.backend, start.model) if start is not None else ("", "", "")
        return cls(name, backend, model, end.error if end is not None else "", seconds, branches[()])

    # -- sums ---------------------------------------------------------------------------------------------------

    def walk(self, parts: list[Part] | None = None) -> Iterator[Part]:
        """Every part, children of forks after their fork."""
        for part in self.parts if parts is None else parts:
            yield part
            for branch in part.branches:
                yield from self.walk(branch)

    def summary(self) -> str:
        asked = [part for part in self.walk() if part.kind in ASKED]
        where = f" on {self.backend}{f' {self.model}' if self.model else ''}"
        made = sum(part.num_output or 0 for part in asked)
        prompt = sum(part.num_prompt or 0 for part in asked)
        reused = sum(part.num_cached or 0 for part in asked)
        counts = (
            f"{plural(len(asked), 'call')}, {plural(made, 'token')} made, {reused:,} of {plural(prompt, 'prompt token')} reused"
        )
        return f"Program {self.name}{where}: {counts}{', ' + duration(self.seconds) if self.seconds is not None else ', running'}"

    # -- as text ------------------------------------------------------------------------------------------------

    def to_text(self) -> str:
        lines = [self.summary(), *_lines(self.parts, "")]
        return "\n".join([*lines, *([f"failed: {visible(self.error)}"] if self.error else [])])

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "backend": self.backend, "model": self.model, "error": self.error, "seconds": self.seconds,
            "parts": [part.to_dict() for part in self.parts],
        }  # fmt: skip

    # -- as HTML ------------------------------------------------------------------------------------------------

    def body(self) -> str:
        head, _, counts = self.summary().partition(": ")
        failed = f"<p><b>failed</b> {to_html(self.error)}</p>" if self.error else ""
        return f'<p><b>{to_html(head)}</b> <span class="wb-soft">{to_html(counts)}</span></p>{_html(self.parts)}{failed}'


def _part(event: PartReached) -> Part:
    return Part(event.part, event.kind, event.name, event.text, event.detail, event.place, event.time)


def _open_branches(fork: Part, branch: tuple[int, ...], branches: dict[tuple[int, ...], list[Part]]) -> None:
    """The branches of a state's k-th fork are called (*state, k, 0), (*state, k, 1), ..."""
    number = sum(part.kind == "fork" for part in branches[branch])
    fork.branches = [[] for _ in range(int(fork.detail.split()[0]))]
    branches |= {(*branch, number, i): children for i, children in enumerate(fork.branches)}


def _finish(part: Part, event: PartFinished) -> None:
    part.text, part.is_done, part.seconds, part.replayed = event.text, True, event.time - part.started, event.replayed
    if not event.replayed:
        part.num_prompt, part.num_cached, part.num_output = event.num_prompt, event.num_cached, event.num_output
    part.finish, part.scores, part.logprobs = event.finish, event.scores, event.logprobs


def _add_timings(by_rid: dict[str, Part], events: Iterable[Event]) -> None:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if isinstance(event, RequestArrived | RequestScheduled | TokenSampled | RequestFinished) and event.rid in by_rid:
            found[event.rid].append(event)
    for rid, own in found.items():
        by_rid[rid].timings = Timings.of(own, rid)


def _lines(parts: list[Part], indent: str) -> Iterator[str]:
    for part in parts:
        label = f"{part.kind} {part.name}".strip()
        if part.kind == "fork":
            yield f"{indent}fork into {part.detail}"
            for i, branch in enumerate(part.branches):
                yield f"{indent}+- {i}"
                yield from _lines(branch, f"{indent}|  ")
        elif part.kind == "rolebegin":
            yield f"{indent}[{visible(part.name)}]"
        elif part.kind in ASKED:
            yield f"{indent}{visible(label)}  {visible(repr(part.text))}"
            more = "; ".join(word for word in (part.facts, part.detail, part.rid and f"request {part.rid}") if word)
            yield f"{indent}    {visible(more)}"
        else:
            text = repr(part.text) if part.kind == "text" else part.detail
            yield f"{indent}{visible(label)}  {visible(text if len(text) <= TEXT_WIDTH else text[: TEXT_WIDTH - 3] + '...')}"


def _html(parts: list[Part]) -> str:
    return "".join(map(_part_html, parts))


def _part_html(part: Part) -> str:
    match part.kind:
        case "text":
            return f'<div class="wb-text">{to_html(part.text)}</div>'
        case "rolebegin":
            return f'<p class="wb-role">{to_html(part.name)}</p>'
        case "fork":
            head = f'<p class="wb-soft">fork into {to_html(part.detail)}</p>'
            return head + "".join(
                f'<div class="wb-branch"><p class="wb-soft">{i}</p>{_html(b)}</div>' for i, b in enumerate(part.branches)
            )
        case kind if kind in ASKED:
            return _asked_html(part)
    return f'<p class="wb-soft">{to_html(f"{part.kind} {part.name} {part.detail}")}</p>'


def _asked_html(part: Part) -> str:
    summary = f"<b>{part.kind} {to_html(part.name)}</b> {to_html(part.facts)}"
    rows = [("asked for", part.detail), ("request", part.rid), ("written at", part.place)]
    inside = [table((), [row for row in rows if row[1]])]
    if part.timings is not None:
        t = part.timings
        kinds = (("queue", t.queue_s, "wait"), ("prefill", t.prefill_s, "prefill"), ("decode", t.decode_s, "decode"))
        inside.append(bar([Segment(label, seconds, duration(seconds), kind) for label, seconds, kind in kinds]))
    if part.scores:
        inside.append(table(("option", "score"), part.scores, numeric=(1,)))
    if part.logprobs:
        inside.append(table(("token", "log-probability"), [(repr(t), f"{p:.3f}") for t, p in part.logprobs], numeric=(1,)))
    text = to_html(part.text) or '<span class="wb-soft">(no text)</span>'
    return f'<details><summary>{summary}</summary>{"".join(inside)}</details><div class="wb-text wb-out">{text}</div>'
