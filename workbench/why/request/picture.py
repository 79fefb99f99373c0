"""The picture of where one request's time went: a sentence, and under it a waterfall of its spans."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.html.escape import to_html as escape
from workbench.html.escape import visible
from workbench.html.parts import card, duration, lines
from workbench.why.request.spans import LifeSpan


def to_text(sentence: str, spans: Sequence[LifeSpan]) -> str:
    """Returns the sentence and a table of the spans for a terminal."""
    rows = [(s.label, duration(s.start_s), duration(s.duration_s), s.note) for s in spans]
    return "\n".join([visible(sentence), *([lines(("part", "from", "took", "what"), rows, numeric=(1, 2))] if rows else [])])


def to_html(sentence: str, spans: Sequence[LifeSpan]) -> str:
    """Returns static HTML: the sentence, and a row for each span with its place in the whole."""
    if not spans:
        return card(f"<p>{escape(sentence)}</p>")
    end = max(s.start_s + s.duration_s for s in spans) or 1.0
    rows = "".join(_row(span, end) for span in spans)
    head = '<tr><th>part</th><th class="wb-num">from</th><th class="wb-num">took</th><th>when</th><th>what</th></tr>'
    return card(f"<p>{escape(sentence)}</p><table><thead>{head}</thead><tbody>{rows}</tbody></table>")


def _row(span: LifeSpan, end: float) -> str:
    before, width = 100 * span.start_s / end, 100 * span.duration_s / end
    way = (
        f'<div><span style="flex:0 0 {min(before, 99):.2f}%"></span>'
        f'<span class="wb-{escape(span.kind)}" style="flex:0 0 {width:.2f}%;min-width:2px"></span></div>'
    )
    return (
        f'<tr><td class="wb-whole">{escape(span.label)}</td><td class="wb-num">{duration(span.start_s)}</td>'
        f'<td class="wb-num">{duration(span.duration_s)}</td><td class="wb-way">{way}</td>'
        f'<td class="wb-whole">{escape(span.note)}</td></tr>'
    )
