"""The mask of a constrained request, folded from the log: how many tokens were allowed along the text, and where it bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.html.escape import to_html, visible
from workbench.html.parts import View, plural, soft
from workbench.types import GrammarSpec
from workbench.views.fold import Facts
from workbench.views.tokens.fold import MAX_STILL, TokensFold
from workbench.views.tokens.output_tokens import Output, OutputToken, percent

SEES = "One column a token of a constrained request: how many tokens the constraint allowed there."
SCALE = "Height: how many of the {} might come, on a logarithmic scale"
BLOCKS = "▁▂▃▄▅▆▇█"
BAR_EM = 3.0
MAX_SOURCE = 400
BARS: dict[str, str] = {"constrained": "wb-decode", "forced": "wb-free", "overruled": "wb-prefill"}
KEYS = " ".join(
    f'<span class="wb-key"><span class="{BARS[kind]}"></span>{words}</span>'
    for kind, words in (
        ("constrained", "the model chose"), ("overruled", "its first choice was forbidden"), ("forced", "no choice: forced"),
    )
)  # fmt: skip


class MaskFold(TokensFold):
    """`step` is the one that is taken apart, whatever is selected."""

    sees = SEES
    only_constrained = True
    name = "mask"
    num_behind = 1  # it has a mask and no token yet

    def __init__(self, facts: Facts | None = None, rid: str | None = None, step: int | None = None) -> None:
        super().__init__(facts, rid)
        self.step = step

    def picture(self) -> MaskCurve:  # type: ignore[override]
        output = self.shown
        if output is None:
            return MaskCurve("", None, (), (), 0, self.note or self.empty)
        at = None
        if self.step is not None and not self._beyond(output):
            at = self._grammar(output).mask_at(output.ids, self.step)
        texts = tuple(self._draw(output).texts[-MAX_STILL:])
        size = self.facts.info.get("vocab_size", 0)
        tokens = tuple(output.tokens[-MAX_STILL:])
        return MaskCurve(output.rid, output.grammar, tokens, texts, size, output.finish, at, self._beyond(output))

    def state(self) -> dict[str, Any]:
        """As of the tokens; `step` is the one to take apart where none is selected."""
        return super().state() | {"step": self.step}

    @property
    def note(self) -> str:  # type: ignore[override]
        output = self.outputs.get(self.rid) if self.rid is not None else None
        if output is not None and output.grammar is None:
            return f"request {self.rid} has no constraint: every token was allowed\n{self.facts.opens('tokens')} shows its tokens"
        return super().note or ("" if self.shown is None else self._beyond(self.shown))

    @property
    def empty(self) -> str:  # type: ignore[override]
        if ((output := self.shown) is not None and output.tokens) or self.note:
            return ""
        python = 'engine.generate("A river:", {"regex": " [A-Z][a-z]+"})'
        example = "%%wb_gen --regex ' [A-Z][a-z]+'" if self.facts.by_magic else python
        return f"No request with a constraint has produced a token yet. Try {example}"

    @property
    def shown(self) -> Output | None:
        output = super().shown
        return None if output is None or output.grammar is None else output

    def _beyond(self, output: Output) -> str:
        """That there is no such step, yet or at all."""
        num_tokens = len(output.tokens)
        if self.step is None or 0 <= self.step <= num_tokens:
            return ""
        has = f"{visible(output.rid)} has {plural(num_tokens, 'output token')}{'' if output.finish else ' so far'}"
        return f"there is no step {self.step}: {has}\n--step takes a number from 0 to {num_tokens}"

    def detail(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """{"id": [rid, step]}: the mask there, by class and by text; and what `TokensFold.detail` tells."""
        told = super().detail(asked)
        if "why" in asked:
            return told
        output, step = self._place(asked)
        at = self._grammar(output).mask_at(output.ids, step)
        classes = [[c.name, c.num_allowed, c.num_tokens, [visible(str(t)) for t in c.examples]] for c in at.classes]
        tokens = [visible(token.text) for token in at.tokens]
        return told | {"sentence": visible(str(at)), "num_allowed": at.num_allowed, "classes": classes, "tokens": tokens}


@dataclass(frozen=True, repr=False)
class MaskCurve(View):
    """`texts[i]` is what `tokens[i]` adds to the text."""

    rid: str
    grammar: GrammarSpec | None
    tokens: tuple[OutputToken, ...]
    texts: tuple[str, ...]
    vocab_size: int
    finish: str = ""
    """Why it ended; without a request what there is to say."""
    at: View | None = None
    """The mask at one step."""
    note: str = ""
    """Why there is none, where one was asked for."""

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
            f'<div class="wb-text wb-out wb-curve">{drawn}</div><p class="wb-soft">{scale}</p><p>{KEYS}</p>'
            f"{f'<p>{to_html(self.note)}</p>' if self.at is None else self.at.body()}"
        )

    def _column(self, token: OutputToken, text: str) -> str:
        """The bar above, the text below; a line break of the text ends the line."""
        height = max(share(token, self.vocab_size) * BAR_EM, 0.12)
        note = to_html(f"{token.position}: {told(token)}")
        shown = to_html(text.replace("\n", "⏎")) or "&nbsp;"
        bar = f'<span class="{BARS.get(token.kind, "wb-decode")}" style="height:{height:.2f}em"></span>'
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
    """Height from 0 to 1: the logarithm of the number of allowed tokens; 0 for one, or where the token was forced."""
    if token.forced or vocab_size < 2:
        return 0.0
    return math.log(min(max(token.num_allowed or vocab_size, 1), vocab_size)) / math.log(vocab_size)


def told(token: OutputToken) -> str:
    """What the mask did there, in words."""
    if token.forced:
        return "forced"
    facts = ["not known any more" if token.num_allowed is None else f"{plural(token.num_allowed, 'token')} allowed"]
    if token.detail is not None and token.detail.after:
        facts.append(f"{percent(token.detail.removed)} of the probability removed")
    if token.kind == "overruled":
        facts.append("the model's first choice was forbidden")
    return "; ".join(facts)
