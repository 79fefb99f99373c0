"""A program's run as a picture: every message is one text to read, with its gaps marked, and under it a line for each gap."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import exp
from typing import TYPE_CHECKING

from workbench.html.escape import to_html
from workbench.html.parts import Segment, bar, duration, table

if TYPE_CHECKING:
    from workbench.views.program.picture import ProgramView
    from workbench.views.program.run import Part

BAR_EM = 7.0
"""The bar of the longest prompt; the others are drawn to the same scale."""
JOINED = {
    "gather_variable": "join: each name that the branches made is a list from here on",
    "concate_and_append": "join: the texts of the branches follow here",
}
"""What a join did, in words."""


def program_html(view: ProgramView) -> str:
    reused, computed, made = view.totals()
    sums = [("reused", reused, "reused"), ("computed", computed, "prefill"), ("written", made, "decode")]
    key = bar([Segment(f"tokens {label}", number, f"{number:,}", kind) for label, number, kind in sums])
    failed = f"<p><b>failed</b> {to_html(view.error)}</p>" if view.error else ""
    longest = max((_prompt_len(part) for part in view.asked), default=0.0) or 1.0
    head = f'<p><b>{to_html(view.title)}</b> <span class="wb-soft">{to_html(f"{view.calls}, {view.lasted}")}</span></p>'
    return f"{head}{key if reused + computed + made else ''}{_blocks(view.parts, BAR_EM / longest)}{failed}"


def _blocks(parts: list[Part], em: float) -> str:
    """Parts that stand in one line of text together, as one block; what begins or ends a block stands between them."""
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
    """What one gap cost in a line, and folded away the rest."""
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
        yield bar([Segment(label, seconds, duration(seconds), kind) for label, seconds, kind in kinds])
    if part.scores:
        options = [(repr(option), score, "chosen" if option == part.text else "") for option, score in part.scores]
        yield table(("option", "score", ""), options, numeric=(1,))
    if part.samples:
        yield table(("other samples",), [(repr(text),) for text in part.samples])
    if part.logprobs:
        yield '<p class="wb-soft">probability and log-probability of each token</p>'
        yield "".join(f'<span class="wb-prob">{to_html(repr(t))}<br>{exp(p):.0%}<br>{p:.2f}</span>' for t, p in part.logprobs)


def _prompt_len(part: Part) -> float:
    """Tokens of the prompt; of a selection the mean of its requests, which read the same prompt."""
    return (part.num_prompt or 0) / part.num_requests
