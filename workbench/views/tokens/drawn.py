"""Drawn part of an output: a row for each token as JSON, made once."""

from __future__ import annotations

from typing import Any

import msgspec

from workbench.html.escape import visible
from workbench.views.fold import Facts
from workbench.views.tokens.colours import levels
from workbench.views.tokens.state import SAYS, OutputToken, Pieces, ShownOutput

KINDS = tuple(SAYS)


class Drawn:
    """The rows of one output. They grow with it."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._start()

    def _start(self) -> None:
        self.tokens: list[OutputToken] = []
        self.rows: list[bytes] = []
        """A row of each token as JSON, made once: it goes out many times."""
        self._pieces = Pieces(self._facts.decode)

    def catch_up(self, output: ShownOutput) -> None:
        """Adds a row for each new token of the output."""
        num = len(self.tokens)
        if num > len(output.tokens) or (num and self.tokens[-1] is not output.tokens[num - 1]):
            self._start()  # tokens were taken back
        for token in output.tokens[len(self.tokens) :]:
            self._pieces.add(token.token_id)
            self.tokens.append(token)
            self.rows.append(b"")
            for i in {self._pieces.first_changed, len(self.rows) - 1}:
                self.rows[i] = msgspec.json.encode(_row(visible(self._pieces.texts[i]), self.tokens[i]))

    @property
    def texts(self) -> list[str]:
        """The text that each token adds."""
        return self._pieces.all()


def _row(text: str, token: OutputToken) -> list[Any]:
    detail = token.detail
    known = [None] * 3 if detail is None else [round(detail.probability, 5), round(detail.entropy, 3), detail.rank]
    latency_s = None if token.latency_s is None else round(token.latency_s, 5)
    removed = None if detail is None or not detail.after else round(detail.removed, 5)
    return [text, KINDS.index(token.kind), levels(token), *known, latency_s, token.num_allowed, removed]
