"""The tokens of a request as a fold over the event log: how each came about, what the model thought, what the mask did."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar, TypeVar

import msgspec

from workbench.errors import InvalidRequest
from workbench.events import PictureNumbered, RequestArrived, RequestFinished, TokenSampled
from workbench.html.escape import visible
from workbench.html.parts import View
from workbench.views.fold import Facts, Fold, Handlers
from workbench.views.seen import SeenPictures
from workbench.views.tokens.colours import MEASURES
from workbench.views.tokens.drawn import Drawn
from workbench.views.tokens.picture import SEES, TokenStrip, no_detail
from workbench.views.tokens.state import OutputToken, ShownOutput

MAX_REQUESTS = 100
"""Requests that are kept; those that run always are."""
MAX_LISTED = 30
MAX_LIVE, MAX_STILL = 400, 3000
"""Last tokens that are drawn of a running request, whose picture goes out many times, and of an ended one."""

PictureT = TypeVar("PictureT", bound=View, covariant=True)


class RequestFold(Fold[PictureT]):
    """One request at a time: the one called `rid`, or the newest that has a token."""

    keeps_history = True
    only_constrained: ClassVar[bool] = False
    """True for a view that leaves out requests without a constraint."""
    name: ClassVar[str]
    """Name of the view."""
    num_behind: ClassVar[int] = 0
    """Places behind the last token that may be asked about."""

    def __init__(self, facts: Facts | None = None, rid: str | None = None) -> None:
        self.seen = SeenPictures()
        super().__init__(facts)
        self.rid = rid
        self.outputs: dict[str, ShownOutput] = {}
        """Outputs by request id, the oldest first."""
        self._ended: OrderedDict[str, None] = OrderedDict()
        """Requests that have ended, the first to end first."""
        self._drawn: tuple[ShownOutput, Drawn] | None = None

    def handlers(self) -> Handlers:
        return {
            RequestArrived: self._arrived, TokenSampled: self._sampled, RequestFinished: self._finished,
            PictureNumbered: self.seen.add,
        }  # fmt: skip

    # -- events -------------------------------------------------------------------------------------------------

    def _arrived(self, event: RequestArrived) -> None:
        self.outputs.pop(event.rid, None)  # an id may be used again
        self.outputs[event.rid] = ShownOutput(event.rid, event.grammar, pictures=event.pictures)
        self._ended.pop(event.rid, None)
        while len(self.outputs) > MAX_REQUESTS and self._ended:
            del self.outputs[self._ended.popitem(last=False)[0]]

    def _sampled(self, event: TokenSampled) -> None:
        output = self.outputs.get(event.rid)
        if output is not None and event.position <= len(output.tokens) and self._is_listed(output):
            output.add(event)

    def _finished(self, event: RequestFinished) -> None:
        if (output := self.outputs.get(event.rid)) is not None:
            output.finish = event.reason
            self._ended[event.rid] = None
            del output.tokens[event.num_output :]  # an abort takes back tokens that were not sent

    # -- questions ----------------------------------------------------------------------------------------------

    @property
    def shown(self) -> ShownOutput | None:
        """The output that is shown; None where there is none."""
        if self.rid is not None:
            return self.outputs.get(self.rid)
        newest = next(self._newest(), None)
        if newest is None or newest.tokens:
            return newest
        return next((output for output in self._newest() if output.tokens), newest)

    def _newest(self) -> Iterator[ShownOutput]:
        """Returns the requests that the view may show, the newest first."""
        return filter(self._is_listed, reversed(self.outputs.values()))

    def show(self, rid: str | None) -> None:
        """Changes the request to show; None for the newest."""
        if rid != self.rid:
            self.rid = rid
            self.version += 1

    @property
    def note(self) -> str:
        if self.rid is not None and self.rid not in self.outputs:
            newest = self.facts.advice.newest.format(self.name)
            return f"no request is called {visible(self.rid)}, or it was too long ago\n{newest}"
        return ""

    @property
    def _has_tokens(self) -> bool:
        return (output := self.shown) is not None and bool(output.tokens)

    def state(self) -> dict[str, Any]:
        """Returns what is drawn. `rows` are the last tokens: text, kind, a level for each measure (`levels`), probability,
        entropy, rank, seconds since the token before, allowed tokens, removed probability."""
        output = self.shown
        listed = islice(self._newest(), MAX_LISTED)
        state: dict[str, Any] = {
            "requests": [[o.rid, len(o.tokens), o.finish, o.grammar.kind if o.grammar else ""] for o in listed],
            "newest": self.rid is None,
        }
        if output is None:
            return state | {"rid": "", "rows": [], "first": 0}
        shown = self._draw(output).rows[-(MAX_STILL if output.finish else MAX_LIVE) :]
        rows = msgspec.Raw(b"[%s]" % b",".join(shown))
        return state | {
            "rid": output.rid, "finish": output.finish, "rows": rows, "first": len(output.tokens) - len(shown),
            "detail_s": output.detail_s, "vocab_size": self.facts.info.get("vocab_size", 0),
            "grammar": f"{output.grammar.kind} {visible(output.grammar.text[:60])}" if output.grammar else "",
            "pictures": [picture.to_state() for picture in self.seen.of(output.pictures)],
        }  # fmt: skip

    def detail(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what is known of the token at {"id": [rid, position]}; with {"why": token id} whether that was allowed."""
        output, position = self._place(asked)
        if "why" in asked:
            return {"why": str(self._grammar(output).why_at_step(asked["why"], output.ids, position))}
        if position == len(output.tokens):
            return {}
        token = output.tokens[position]
        found: dict[str, Any] = {"text": visible(self._draw(output).texts[position]), "words": visible(token.words(self._name))}
        if (detail := token.detail) is not None:
            found["before"] = [[i, visible(self._name(i)), share, allowed(token, i, share)] for i, share in detail.before]
            found["after"] = [[i, visible(self._name(i)), share] for i, share in detail.after]
            found |= {"removed": detail.removed, "overruled": detail.overruled, "cost_s": detail.cost_s}
        return found

    def questions(self) -> Iterator[tuple[dict[str, Any], Any]]:
        for output in islice(self._newest(), MAX_LISTED):
            for position in range(len(output.tokens) + (0 if output.finish else self.num_behind)):
                token = output.tokens[position] if position < len(output.tokens) else None
                yield {"id": [output.rid, position]}, token and token.token_id
        for output in islice(self._newest(), MAX_LISTED):
            for token in output.tokens if output.grammar is not None and self.facts.grammar is not None else ():
                for i, share in token.detail.before if token.detail is not None else ():
                    if allowed(token, i, share) is not True:
                        yield {"id": [output.rid, token.position], "why": i}, token.token_id

    def choices(self) -> Iterator[tuple[str, Any]]:
        for output in islice(self._newest(), MAX_LISTED):
            yield output.rid, (len(output.tokens), output.finish)

    def _is_listed(self, output: ShownOutput) -> bool:
        return output.grammar is not None or not self.only_constrained

    def _place(self, asked: Mapping[str, Any]) -> tuple[ShownOutput, int]:
        rid, position = asked.get("id") or ("", -1)
        output = self.outputs.get(rid)
        if output is None or not 0 <= position < len(output.tokens) + self.num_behind:
            raise InvalidRequest("token", f"{rid}:{position}", "a token of a request that is remembered")
        return output, position

    def _grammar(self, output: ShownOutput) -> Any:
        if output.grammar is None or self.facts.grammar is None:
            raise InvalidRequest("rid", output.rid, "a request with a constraint", hint="without one every token is allowed")
        return self.facts.grammar(output.grammar)

    def _draw(self, output: ShownOutput) -> Drawn:
        if self._drawn is None or self._drawn[0] is not output:
            self._drawn = (output, Drawn(self.facts))
        self._drawn[1].catch_up(output)
        return self._drawn[1]

    def _name(self, token_id: int) -> str:
        return self.facts.decode([token_id])


class TokensFold(RequestFold[TokenStrip]):
    """All requests, also those without a constraint. `by` is the measure that colours the still picture."""

    sees = SEES
    name = "tokens"

    def __init__(self, facts: Facts | None = None, rid: str | None = None, by: str = "probability") -> None:
        if by not in MEASURES:
            raise InvalidRequest("by", by, f"one of {', '.join(MEASURES)}")
        super().__init__(facts, rid)
        self.by = by

    def state(self) -> dict[str, Any]:
        scales = {name: [measure.words, *measure.levels] for name, measure in MEASURES.items()}
        return super().state() | {"by": self.by, "measures": scales, "no_detail": no_detail("{}", self.facts.advice)}

    @property
    def empty(self) -> str:
        if self._has_tokens or self.note:
            return ""
        return f"No request has produced a token yet. Leave this view open and {self.facts.advice.begins}"

    def picture(self) -> TokenStrip:
        output = self.shown
        if output is None:
            return TokenStrip("", (), (), self.note or self.empty, self.by)
        tokens = tuple(output.tokens[-MAX_STILL:])
        texts = tuple(self._draw(output).texts[-MAX_STILL:])
        ids = {token.token_id for token in tokens} | {i for token in tokens for i in alternatives(token)}
        names = {i: self._name(i) for i in ids}
        pictures = self.seen.of(output.pictures)
        return TokenStrip(output.rid, tokens, texts, output.finish, self.by, output.detail_s, names, self.facts.advice, pictures)


def alternatives(token: OutputToken) -> set[int]:
    """Returns the ids of all tokens in a token's detail."""
    detail = token.detail
    return set() if detail is None else {detail.drawn, *(i for i, _ in detail.before), *(i for i, _ in detail.after)}


def allowed(token: OutputToken, token_id: int, share: float) -> bool | None:
    """Returns whether the constraint allowed one of the likeliest tokens; None where the detail does not hold it."""
    detail = token.detail
    if detail is None or not detail.after:
        return True
    if any(i == token_id for i, _ in detail.after):
        return True
    could_be = share / max(1 - detail.removed, 1e-9) <= detail.after[-1][1] * 1.001 and len(detail.after) == len(detail.before)
    return None if could_be else False
