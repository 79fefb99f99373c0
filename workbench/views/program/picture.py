"""`ProgramView`: what one run of a program wrote and asked, as a tree, folded from its events."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
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
from workbench.html.escape import visible
from workbench.html.parts import View, duration, plural
from workbench.views.program.html import JOINED, program_html
from workbench.views.program.run import ASKED, Part, ProgramRun

OF_PROGRAMS = ProgramStarted | PartReached | RequestLinked | PartFinished | ProgramFinished
OF_ENGINES = RequestArrived | RequestScheduled | TokenSampled | RequestFinished
"""What a request's timings and its text so far are made of."""
TEXT_WIDTH = 100
"""Columns of a terminal that `to_text` fills."""
MAX_LINES = 3
"""Of literal text in a terminal; the middle of a longer one is left out."""


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
        run = ProgramRun()
        for event in (*events, *(event for event in engine_events if isinstance(event, OF_ENGINES))):
            run.apply(event)
        return cls.of_run(run)

    @classmethod
    def of_run(cls, run: ProgramRun) -> ProgramView:
        """As it is now: what the run does afterwards changes nothing here."""
        start, end = run.start, run.end
        seconds = end.time - start.time if start is not None and end is not None else None
        name, backend, model = (start.name, start.backend, start.model) if start is not None else ("", "", "")
        return cls(name, backend, model, end.error if end is not None else "", seconds, deepcopy(run.parts))

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
