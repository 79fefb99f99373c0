"""Where one request's time went: a sentence, and under it a waterfall of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.html.escape import to_html as escape
from workbench.html.escape import visible
from workbench.html.parts import card, duration, lines, plural


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of a request's life. `kind` is one of wait, prefill, decode, lost (see `parts.Segment`)."""

    label: str
    start_s: float
    """Since the request arrived."""
    duration_s: float
    kind: str
    note: str = ""


def behind(reason: str, blocked_by: str) -> str:
    """A reason to wait, in words."""
    return reason + (f", behind {blocked_by}" if blocked_by else "")


def waits_for(reason: str, blocked_by: str, num_needed: int, num_available: int) -> str:
    """The same with the numbers that decided, where there are some."""
    match reason:
        case "memory" if num_needed:
            return f"{behind(reason, blocked_by)}: {plural(num_needed, 'page')} needed, {num_available:,} to be had"
        case "batch full":
            return f"{behind(reason, blocked_by)}: {num_available:,} running at most"
    return behind(reason, blocked_by)


def to_text(sentence: str, spans: Sequence[Span]) -> str:
    rows = [(s.label, duration(s.start_s), duration(s.duration_s), s.note) for s in spans]
    return "\n".join([visible(sentence), *([lines(("part", "from", "took", "what"), rows, numeric=(1, 2))] if rows else [])])


def to_html(sentence: str, spans: Sequence[Span]) -> str:
    """Static HTML: the sentence, and a row for each part with its place in the whole."""
    if not spans:
        return card(f"<p>{escape(sentence)}</p>")
    end = max(s.start_s + s.duration_s for s in spans) or 1.0
    rows = "".join(_row(span, end) for span in spans)
    head = '<tr><th>part</th><th class="wb-num">from</th><th class="wb-num">took</th><th>when</th><th>what</th></tr>'
    return card(f"<p>{escape(sentence)}</p><table><thead>{head}</thead><tbody>{rows}</tbody></table>")


def _row(span: Span, end: float) -> str:
    before, width = 100 * span.start_s / end, 100 * span.duration_s / end
    way = (
        f'<div><span style="flex:0 0 {min(before, 99):.2f}%"></span>'
        f'<span class="wb-{escape(span.kind)}" style="flex:0 0 {width:.2f}%;min-width:2px"></span></div>'
    )
    return (
        f'<tr><td>{escape(span.label)}</td><td class="wb-num">{duration(span.start_s)}</td>'
        f'<td class="wb-num">{duration(span.duration_s)}</td><td class="wb-way">{way}</td><td>{escape(span.note)}</td></tr>'
    )
