"""The mask of a constrained request as a fold over the event log: how many tokens were allowed along the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.html.escape import visible
from workbench.html.parts import plural
from workbench.views.fold import Facts
from workbench.views.mask.picture import SEES, MaskCurve
from workbench.views.tokens.fold import MAX_STILL, RequestFold
from workbench.views.tokens.state import ShownOutput


class MaskFold(RequestFold[MaskCurve]):
    """The mask of the request `rid`, or of the newest one with a constraint. `step` is the step that is taken apart."""

    sees = SEES
    only_constrained = True
    name = "mask"
    num_behind = 1  # a mask stands there before its token does

    def __init__(self, facts: Facts | None = None, rid: str | None = None, step: int | None = None) -> None:
        super().__init__(facts, rid)
        self.step = step

    def picture(self) -> MaskCurve:
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
        """Returns what `RequestFold.state` does; `step` is the step that is taken apart while none is selected."""
        return super().state() | {"step": self.step}

    @property
    def note(self) -> str:
        output = self.outputs.get(self.rid) if self.rid is not None else None
        if output is not None and output.grammar is None:
            opens = self.facts.advice.opens.format("tokens")
            return f"request {self.rid} has no constraint: every token was allowed\n{opens} shows its tokens"
        return super().note or ("" if self.shown is None else self._beyond(self.shown))

    @property
    def empty(self) -> str:
        if self._has_tokens or self.note:
            return ""
        return f"No request with a constraint has produced a token yet: {self.facts.advice.constrains}"

    @property
    def shown(self) -> ShownOutput | None:
        output = super().shown
        return None if output is None or output.grammar is None else output

    def detail(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the mask at {"id": [rid, step]}, by class and by text, and what `RequestFold.detail` does."""
        found = super().detail(asked)
        if "why" in asked:
            return found
        output, step = self._place(asked)
        at = self._grammar(output).mask_at(output.ids, step)
        classes = [[c.name, c.num_allowed, c.num_tokens, [visible(str(t)) for t in c.examples]] for c in at.classes]
        tokens = [visible(token.text) for token in at.tokens]
        return found | {"sentence": visible(str(at)), "num_allowed": at.num_allowed, "classes": classes, "tokens": tokens}

    def _beyond(self, output: ShownOutput) -> str:
        """Returns a note where the output has no such step, or not yet."""
        num_tokens = len(output.tokens)
        if self.step is None or 0 <= self.step <= num_tokens:
            return ""
        has = f"{visible(output.rid)} has {plural(num_tokens, 'output token')}{'' if output.finish else ' so far'}"
        return f"there is no step {self.step}: {has}\n--step takes a number from 0 to {num_tokens}"
