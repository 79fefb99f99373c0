"""One run of a program as a still picture: each message is one text with its gaps marked, and a line for each gap."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from math import exp
from pathlib import Path
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
from workbench.html.escape import to_html, visible
from workbench.html.parts import BarPart, View, bar, duration, plural, soft, table
from workbench.views.program.state import ASKED, Part, ProgramRun

OF_PROGRAMS = ProgramStarted | PartReached | RequestLinked | PartFinished | ProgramFinished
OF_ENGINES = RequestArrived | RequestScheduled | TokenSampled | RequestFinished
"""Events of a request from which its timings and its text so far are made."""
TEXT_WIDTH = 100
"""Columns of a terminal that `to_text` fills."""
MAX_LINES = 3
"""Lines of literal text in a terminal; of a longer one the middle is left out."""
SEES = "A program's text as it is written; under each gap that the model filled, the request behind it."
BAR_EM = 7.0
"""Width of the longest prompt's bar; the others have the same scale."""
JOINED = {
    "gather_variable": "join: each name that the branches made is a list from here on",
    "concate_and_append": "join: the texts of the branches follow here",
}
"""Effect of each kind of join."""


@dataclass(frozen=True, repr=False)
class NoProgram(View):
    """The picture before any program ran."""

    says: str
    """Why there is none, and the code that runs one."""

    def to_text(self) -> str:
        return visible(self.says)

    def to_dict(self) -> dict[str, Any]:
        return {}

    def body(self) -> str:
        return f"<p><b>Program</b></p>{soft(SEES)}<p>{to_html(self.says)}</p>"


@dataclass(frozen=True, repr=False)
class ProgramView(View):
    """A run as it was at one moment."""

    style = Path(__file__).with_name("view.css")
    name: str
    backend: str
    model: str
    error: str
    seconds: float | None
    """None while it runs."""
    parts: list[Part]

    @classmethod
    def of(cls, events: Iterable[Event], engine_events: Iterable[Event] = ()) -> ProgramView:
        """Returns the picture of one program's events; those of an engine's log add the timings of its requests."""
        run = ProgramRun()
        for event in (*events, *(event for event in engine_events if isinstance(event, OF_ENGINES))):
            run.apply(event)
        return cls.of_run(run)

    @classmethod
    def of_run(cls, run: ProgramRun) -> ProgramView:
        """Returns the picture of a run as it is now: later events change nothing in it."""
        start, end = run.start, run.end
        seconds = end.time - start.time if start is not None and end is not None else None
        name, backend, model = (start.name, start.backend, start.model) if start is not None else ("", "", "")
        return cls(name, backend, model, end.error if end is not None else "", seconds, deepcopy(run.parts))

    # -- sums ---------------------------------------------------------------------------------------------------

    def walk(self, parts: list[Part] | None = None) -> Iterator[Part]:
        """Returns every part, those of branches after their fork."""
        for part in self.parts if parts is None else parts:
            yield part
            for branch in part.branches:
                yield from self.walk(branch)

    @property
    def asked(self) -> list[Part]:
        """Generations and selections, in the order of the text."""
        return [part for part in self.walk() if part.kind in ASKED]

    def totals(self) -> tuple[int, int, int]:
        """Returns (tokens reused, prompt tokens computed, tokens written) by all calls, as far as they were reported."""
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
        reused, computed, made = self.totals()
        sums = [("reused", reused, "reused"), ("computed", computed, "prefill"), ("written", made, "decode")]
        totals = bar([BarPart(f"tokens {label}", number, f"{number:,}", kind) for label, number, kind in sums])
        failed = f"<p><b>failed</b> {to_html(self.error)}</p>" if self.error else ""
        longest = max((_prompt_len(part) for part in self.asked), default=0.0) or 1.0
        head = f'<p><b>{to_html(self.title)}</b> <span class="wb-soft">{to_html(f"{self.calls}, {self.lasted}")}</span></p>'
        return f"{head}{totals if reused + computed + made else ''}{_blocks(self.parts, BAR_EM / longest)}{failed}"


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


def _blocks(parts: list[Part], em: float) -> str:
    """Joins parts that stand in one line of text to blocks. Parts that begin or end a block stand between."""
    edges = [i for i, part in enumerate(parts) if part.kind in ("rolebegin", "roleend", "fork", "join")]
    html = ""
    for start, end in pairwise([-1, *edges, len(parts)]):
        html += (_edge(parts[start], em) if start >= 0 else "") + _stretch(parts[start + 1 : end], em)
    return html


def _edge(part: Part, em: float) -> str:
    match part.kind:
        case "rolebegin":
            return f'<p class="wb-role">{to_html(part.name)}</p>'
        case "fork":
            branches = (
                f'<div class="wb-branch"><p class="wb-soft">branch {i}</p>{_blocks(branch, em)}</div>'
                for i, branch in enumerate(part.branches)
            )
            says = f"fork into {part.detail}: each goes on from here and shares all the text above"
            return f'<p class="wb-soft">{to_html(says)}</p><div class="wb-fork">{"".join(branches)}</div>'
        case "join":
            return f'<p class="wb-soft">{to_html(JOINED.get(part.detail, part.detail))}</p>'
    return ""


def _stretch(parts: list[Part], em: float) -> str:
    if not parts:
        return ""
    text = "".join(map(_inline, parts))
    return f'<div class="wb-text">{text}</div>{"".join(_gap(p, em) for p in parts if p.kind in ("gen", "select"))}'


def _inline(part: Part) -> str:
    match part.kind:
        case "text":
            return f"<span>{to_html(part.text)}</span>"
        case "gen" | "select":
            kind = " wb-given" if part.replayed else ""
            return f'<span class="wb-gap{kind}" data-name="{to_html(part.name or part.kind)}">{to_html(part.text)}</span>'
        case "varbegin":
            return f'<span class="wb-tag" data-name="{to_html(part.name)} {{"></span>'
        case "varend":
            return '<span class="wb-tag" data-name="}"></span>'
    return f'<span class="wb-soft">[{to_html(part.kind)} {to_html(part.detail)}]</span>'


def _gap(part: Part, em: float) -> str:
    """Returns a line with the cost of one gap, and all else about it folded away."""
    reused = part.num_cached or 0
    drawn = ""
    if part.num_prompt:
        shares = (("reused", reused), ("prefill", part.num_prompt - reused))
        scale = em * _prompt_len(part) / part.num_prompt
        drawn = "".join(f'<span class="wb-{kind}" style="width:{count * scale:.2f}em"></span>' for kind, count in shares if count)
    lead = f'<span class="wb-read" style="width:{BAR_EM}em">{drawn}</span>'
    summary = f"{lead} <b>{to_html(part.title)}</b> {to_html(part.facts)}"
    return f'<details class="wb-line"><summary>{summary}</summary>{"".join(_folded(part))}</details>'


def _folded(part: Part) -> Iterator[str]:
    rows = [("asked for", part.detail), ("request", part.requests), ("written at", part.place)]
    yield table((), [row for row in rows if row[1]])
    if part.timings is not None:
        t = part.timings
        kinds = (("queue", t.queue_s, "wait"), ("prefill", t.prefill_s, "prefill"), ("decode", t.decode_s, "decode"))
        yield bar([BarPart(label, seconds, duration(seconds), kind) for label, seconds, kind in kinds])
    if part.scores:
        options = [(repr(option), score, "chosen" if option == part.text else "") for option, score in part.scores]
        yield table(("option", "score", ""), options, numeric=(1,))
    if part.samples:
        yield table(("other samples",), [(repr(text),) for text in part.samples])
    if part.logprobs:
        yield '<p class="wb-soft">probability and log-probability of each token</p>'
        yield "".join(f'<span class="wb-prob">{to_html(repr(t))}<br>{exp(p):.0%}<br>{p:.2f}</span>' for t, p in part.logprobs)


def _prompt_len(part: Part) -> float:
    """Returns the tokens of a part's prompt; for a selection the mean of its requests, which read the same prompt."""
    return (part.num_prompt or 0) / part.num_requests
