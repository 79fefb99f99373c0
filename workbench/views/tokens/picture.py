"""A strip of tokens as a still picture: coloured by one measure, marked by how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from msgspec import structs

from workbench.html.escape import to_html, visible
from workbench.html.parts import View, duration, lines, plural, soft, table
from workbench.views.advice import IN_PYTHON, Advice
from workbench.views.seen import SeenPicture, pictures_html
from workbench.views.tokens.colours import MEASURES
from workbench.views.tokens.marks import legend, marked_token
from workbench.views.tokens.state import OutputToken, percent, quote

SEES = "What one request has written, token by token: how each came about, and what the model thought of it."
BEHIND = "Its prompt has "
"""Words before the pictures of a prompt."""
MAX_TOLD = 8
"""Overruled tokens that are explained."""
HEAD = ("step", "came", "the model gave it", "it wanted", "the mask removed", "and left")


def no_detail(by: str, advice: Advice) -> str:
    """Describes why a measure is not known for a request, and how to record it for the next."""
    return f"{by} was not recorded while this request ran: {advice.details}"


@dataclass(frozen=True, repr=False)
class TokenStrip(View):
    """The output of one request. `texts[i]` is what `tokens[i]` adds to the text."""

    style = Path(__file__).with_name("view.css")

    rid: str
    tokens: tuple[OutputToken, ...]
    texts: tuple[str, ...]
    finish: str = ""
    """Why it ended. Without a request: why there is none."""
    by: str = "probability"
    detail_s: float | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    """Texts of the tokens in details."""
    advice: Advice = IN_PYTHON
    pictures: tuple[SeenPicture, ...] = ()
    """Pictures of its prompt."""

    @property
    def overruled(self) -> list[OutputToken]:
        """Tokens where the constraint overruled the model, the hardest first."""
        found = [token for token in self.tokens if token.kind == "overruled" and token.detail is not None]
        return sorted(found, key=lambda token: -token.detail.removed if token.detail else 0.0)

    def to_text(self) -> str:
        if not self.rid:
            return visible(self.finish)
        rows = self._rows()
        told = ["", lines(HEAD, rows, numeric=(0,))] if rows else []
        shown = [f"{BEHIND}{'; '.join(picture.words for picture in self.pictures)}"] if self.pictures else []
        return visible("\n".join([self._summary(), *shown, "".join(self.texts), *told]))

    def to_dict(self) -> dict[str, Any]:
        tokens = [
            {
                "position": token.position, "token_id": token.token_id, "text": text, "kind": token.kind,
                "num_allowed": token.num_allowed, "latency_s": token.latency_s,
                "detail": None if token.detail is None else structs.asdict(token.detail),
            }
            for token, text in zip(self.tokens, self.texts, strict=True)
        ]  # fmt: skip
        pictures = [asdict(picture) for picture in self.pictures]
        return {"id": self.rid, "finish": self.finish, "detail_s": self.detail_s, "pictures": pictures, "tokens": tokens}

    def body(self) -> str:
        if not self.rid:
            return f"<p><b>Tokens</b></p>{soft(SEES)}<p>{to_html(self.finish)}</p>"
        drawn = "".join(self._token(token, text) for token, text in zip(self.tokens, self.texts, strict=True))
        rows = self._rows()
        told = f"<p>Where the constraint overruled the model</p>{table(HEAD, rows, numeric=(0,))}" if rows else ""
        return (
            f"<p><b>Tokens</b> {to_html(self._summary())}</p>{soft(SEES)}{pictures_html(self.pictures, BEHIND)}"
            f"{self._scale()}"
            f'<div class="wb-text wb-out wb-strip">{drawn}</div>{legend(token.kind for token in self.tokens)}{told}'
        )

    def _token(self, token: OutputToken, text: str) -> str:
        level = MEASURES[self.by].level(token)
        note = f"{token.position}: {token.words(self._name)}"
        return marked_token(text, token.kind, note, "" if level is None else f"wb-l{level}")

    def _summary(self) -> str:
        cost = "" if self.detail_s is None else f"; token detail took {duration(self.detail_s)}"
        state = f"ended by {self.finish}" if self.finish else "running"
        return f"of {self.rid}: {plural(len(self.tokens), 'token')}, {state}{cost}"

    def _scale(self) -> str:
        """Returns the meaning of the colours."""
        measure = MEASURES[self.by]
        if measure.needs_detail and self.detail_s is None:
            return soft(f"No colours: {no_detail(self.by, self.advice)}")
        steps = " ".join(f'<span class="wb-l{i}">{to_html(words)}</span>' for i, words in enumerate(measure.levels))
        return f'<p class="wb-soft wb-scale">{self.by}, {measure.words}: {steps}</p>'

    def _rows(self) -> list[tuple[str, ...]]:
        return [self._told(token) for token in self.overruled[:MAX_TOLD]]

    def _told(self, token: OutputToken) -> tuple[str, ...]:
        detail = token.detail
        assert detail is not None
        first, share = detail.before[0]
        left = ", ".join(f"{quote(self._name(i))} {percent(part)}" for i, part in detail.after[:3])
        gave = f"{percent(detail.probability)}, rank {detail.rank:,}"
        wanted = f"{quote(self._name(first))} ({percent(share)})"
        return str(token.position), quote(self._name(token.token_id)), gave, wanted, percent(detail.removed), left

    def _name(self, token_id: int) -> str:
        return self.names.get(token_id, str(token_id))
