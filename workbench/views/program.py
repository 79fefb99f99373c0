"""`ProgramView`: what one run of a program wrote and asked, as a tree, folded from its events."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from workbench.escape import visible
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
from workbench.views.parts import View, duration, plural
from workbench.views.program_html import JOINED, program_html

ASKED = ("gen", "select")
TEXT_WIDTH = 100
"""Columns of a terminal that `to_text` fills."""
MAX_LINES = 3
"""Of literal text in a terminal; the middle of a longer one is left out."""


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
    num_requests: int = 1
    finish: str = ""
    samples: tuple[str, ...] = ()
    """The other texts, where several were asked for."""
    scores: tuple[tuple[str, str], ...] = ()
    logprobs: tuple[tuple[str, float], ...] = ()
    replayed: bool = False
    timings: Timings | None = None
    branches: list[list[Part]] = field(default_factory=list)
    """The children of a fork, each with its parts."""

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}".strip()

    @property
    def facts(self) -> str:
        """Tokens, reuse and time in one line."""
        if self.replayed:
            return f"{'edited' if self.finish == 'edited' else 'kept from the run before'}, nothing was asked"
        if not self.is_done:
            return "not finished"
        words = [plural(len(self.scores), "option")] if self.scores else []
        words += [plural(self.num_output, "token")] if self.num_output else []
        words += [self.finish] if self.finish else []
        if self.num_prompt is not None:
            read = plural(self.num_prompt, "prompt token")
            words.append(read if self.num_cached is None else f"{self.num_cached:,} of {read} reused")
        return ", ".join([*words, *([] if self.seconds is None else [duration(self.seconds)])])

    @property
    def requests(self) -> str:
        """The engine's ids, as `explain` takes them."""
        several = self.kind == "select" or self.num_requests > 1
        return f"{self.rid}-0 to {self.rid}-{self.num_requests - 1}" if self.rid and several else self.rid

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

    @property
    def asked(self) -> list[Part]:
        """The generations and selections, in the order of the text."""
        return [part for part in self.walk() if part.kind in ASKED]

    def totals(self) -> tuple[int, int, int]:
        """(tokens reused, prompt tokens computed, tokens made) by all calls, as far as they were reported."""
        reused = sum(part.num_cached or 0 for part in self.asked)
        return reused, sum(part.num_prompt or 0 for part in self.asked) - reused, sum(p.num_output or 0 for p in self.asked)

    @property
    def title(self) -> str:
        return f"Program {self.name} on {self.backend}{f' {self.model}' if self.model else ''}"

    @property
    def calls(self) -> str:
        return plural(sum(not part.replayed for part in self.asked), "call")

    @property
    def lasted(self) -> str:
        return "running" if self.seconds is None else duration(self.seconds)

    @property
    def counts(self) -> str:
        reused, computed, made = self.totals()
        read = f"{reused:,} of {plural(reused + computed, 'prompt token')} reused"
        return f"{self.calls}, {plural(made, 'token')} made, {read}, {self.lasted}"

    def summary(self) -> str:
        return f"{self.title}: {self.counts}"

    # -- as text ------------------------------------------------------------------------------------------------

    def to_text(self) -> str:
        lines = [self.title, self.counts, *_lines(self.parts, "")]
        return "\n".join([*lines, *([f"failed: {visible(self.error)}"] if self.error else [])])

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "backend": self.backend, "model": self.model, "error": self.error, "seconds": self.seconds,
            "parts": [part.to_dict() for part in self.parts],
        }  # fmt: skip

    # -- as HTML ------------------------------------------------------------------------------------------------

    def body(self) -> str:
        return program_html(self)


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
    part.num_requests, part.samples = event.num_requests, event.samples


def _add_timings(by_rid: dict[str, Part], events: Iterable[Event]) -> None:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if isinstance(event, RequestArrived | RequestScheduled | TokenSampled | RequestFinished) and event.rid in by_rid:
            found[event.rid].append(event)
    for rid, own in found.items():
        by_rid[rid].timings = Timings.of(own, rid)


def _lines(parts: list[Part], indent: str) -> Iterator[str]:
    for part in parts:
        match part.kind:
            case "fork":
                yield f"{indent}fork into {part.detail}"
                for i, branch in enumerate(part.branches):
                    yield f"{indent}+- {i}"
                    yield from _lines(branch, f"{indent}|  ")
            case "rolebegin":
                yield f"{indent}[{visible(part.name)}]"
            case "join":
                yield f"{indent}{JOINED.get(part.detail, part.detail)}"
            case "varbegin":
                yield f"{indent}scope {visible(part.name)}"
            case "varend":
                yield f"{indent}end of scope {visible(part.name)}"
            case "gen" | "select":
                yield from _wrapped(f"{part.title}  {part.text!r}", indent, f"{indent}    ")
                scores = ", ".join(f"{option!r} {score}" for option, score in part.scores)
                asked = "; ".join(word for word in (part.detail, part.requests and f"request {part.requests}") if word)
                for more in (part.facts, scores, *map(repr, part.samples), asked):
                    yield from _wrapped(more, f"{indent}    ", f"{indent}    ")
            case "text":
                shown = list(_wrapped(f"text  {part.text!r}", indent, f"{indent}      "))
                yield from shown if len(shown) <= MAX_LINES else [*shown[:1], f"{indent}      ...", *shown[-1:]]
            case kind if kind != "roleend":
                yield from _wrapped(f"{part.title}  {part.detail}", indent, f"{indent}      ")


def _wrapped(text: str, indent: str, further: str) -> list[str]:
    return textwrap.wrap(
        visible(text), TEXT_WIDTH, initial_indent=indent, subsequent_indent=further, drop_whitespace=False,
        break_on_hyphens=False,
    )  # fmt: skip
