"""The mask of a constrained request as a still picture: one column a token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.html.escape import to_html, visible
from workbench.html.parts import View, key, plural, soft
from workbench.types import GrammarSpec
from workbench.views.tokens.state import OutputToken, percent

SEES = "One column a token of a constrained request: how many tokens the constraint allowed there."
SCALE = "Height: how many of the {} might come, on a logarithmic scale"
BLOCKS = "▁▂▃▄▅▆▇█"
BAR_EM, LEAST_EM = 3.0, 0.12
"""Heights of the highest and of the lowest column."""
MAX_SOURCE = 400
"""Characters of a constraint that are shown."""
BARS = {"constrained": "decode", "forced": "free", "overruled": "prefill"}
"""Pattern of a column by the token's kind."""
KEY = (
    (BARS["constrained"], "the model chose"),
    (BARS["overruled"], "its first choice was forbidden"),
    (BARS["forced"], "no choice: forced"),
)


@dataclass(frozen=True, repr=False)
class MaskCurve(View):
    """The masks along one request. `texts[i]` is what `tokens[i]` adds to the text."""

    style = Path(__file__).with_name("view.css")

    rid: str
    grammar: GrammarSpec | None
    tokens: tuple[OutputToken, ...]
    texts: tuple[str, ...]
    vocab_size: int
    finish: str = ""
    """Why it ended. Without a request: why there is none."""
    at: View | None = None
    """The mask at one step."""
    note: str = ""
    """Why the mask that was asked for is not there."""

    def to_text(self) -> str:
        if not self.rid:
            return visible(self.finish)
        shown = [
            visible(f"Mask {self._summary()}"),
            "".join(BLOCKS[round(share(token, self.vocab_size) * (len(BLOCKS) - 1))] for token in self.tokens),
            visible("".join(self.texts)),
        ]
        more = self.note if self.at is None else f"\n{self.at.to_text()}"
        return "\n".join([*shown, *([more] if more else [])])

    def to_dict(self) -> dict[str, Any]:
        grammar = None if self.grammar is None else {"kind": self.grammar.kind, "text": self.grammar.text}
        tokens = [
            {
                "position": token.position, "token_id": token.token_id, "text": text, "kind": token.kind,
                "num_allowed": token.num_allowed, "removed": None if token.detail is None else token.detail.removed,
            }
            for token, text in zip(self.tokens, self.texts, strict=True)
        ]  # fmt: skip
        at = None if self.at is None else self.at.to_dict()
        return {"id": self.rid, "grammar": grammar, "vocab_size": self.vocab_size, "tokens": tokens, "at": at}

    def body(self) -> str:
        if not self.rid or self.grammar is None:
            return f"<p><b>Mask</b></p>{soft(SEES)}<p>{to_html(self.finish)}</p>"
        drawn = "".join(self._column(token, text) for token, text in zip(self.tokens, self.texts, strict=True))
        source = to_html(self.grammar.text[:MAX_SOURCE] + "…" * (len(self.grammar.text) > MAX_SOURCE))
        scale = SCALE.format(plural(self.vocab_size, "token"))
        return (
            f"<p><b>Mask</b> {to_html(self._summary())}</p>{soft(SEES)}"
            f'<details><summary>The {to_html(self.grammar.kind)}</summary><div class="wb-text">{source}</div></details>'
            f'<div class="wb-text wb-out wb-curve">{drawn}</div><p class="wb-soft">{scale}</p><p>{key(*KEY)}</p>'
            f"{f'<p>{to_html(self.note)}</p>' if self.at is None else self.at.body()}"
        )

    def _column(self, token: OutputToken, text: str) -> str:
        """Returns a bar with the token's text under it. A line break of the text ends the line."""
        height = max(share(token, self.vocab_size) * BAR_EM, LEAST_EM)
        note = to_html(f"{token.position}: {words(token)}")
        shown = to_html(text.replace("\n", "⏎")) or "&nbsp;"
        bar = f'<span class="wb-{BARS.get(token.kind, "decode")}" style="height:{height:.2f}em"></span>'
        return f'<span class="wb-col" title="{note}">{bar}<span>{shown}</span></span>{"<br>" * text.count(chr(10))}'

    def _summary(self) -> str:
        drawn = [token for token in self.tokens if token.num_allowed is not None]
        least = min((token.num_allowed or 0 for token in drawn), default=0)
        most = max((token.num_allowed or 0 for token in drawn), default=0)
        forced = len([token for token in self.tokens if token.forced])
        span = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        choice = f", {span} of {self.vocab_size:,} allowed where there was a choice" if drawn else ""
        return f"of {self.rid}: {plural(len(self.tokens), 'token')}, {forced:,} forced{choice}"


def share(token: OutputToken, vocab_size: int) -> float:
    """Returns a height from 0 to 1: the logarithm of the number of allowed tokens; 0 for one, or for a forced token."""
    if token.forced or vocab_size < 2:
        return 0.0
    return math.log(min(max(token.num_allowed or vocab_size, 1), vocab_size)) / math.log(vocab_size)


def words(token: OutputToken) -> str:
    """Describes what the mask did to a token."""
    if token.forced:
        return "forced"
    facts = ["not known any more" if token.num_allowed is None else f"{plural(token.num_allowed, 'token')} allowed"]
    if token.detail is not None and token.detail.after:
        facts.append(f"{percent(token.detail.removed)} of the probability removed")
    if token.kind == "overruled":
        facts.append("the model's first choice was forbidden")
    return "; ".join(facts)
