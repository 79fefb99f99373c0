"""The tokens of a request, folded from the log: how each came about, what the model thought of it, what the mask did."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from workbench.errors import InvalidRequest
from workbench.events import RequestArrived, RequestFinished, TokenSampled
from workbench.html.escape import visible
from workbench.views.fold import Facts, Fold, Handlers
from workbench.views.tokens.colours import MEASURES, levels
from workbench.views.tokens.output_tokens import SAYS, Output, OutputToken, Pieces
from workbench.views.tokens.picture import SEES, TokenStrip

MAX_REQUESTS = 100
"""Requests that are remembered; those that run always are."""
MAX_LISTED = 30
MAX_LIVE, MAX_STILL = 400, 3000
"""Tokens that are drawn: the last ones of a request that runs, whose picture goes out many times; of one that has ended."""
KINDS = tuple(SAYS)


class Drawn:
    """What is drawn of one output; grows with it."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._start()

    def _start(self) -> None:
        self.tokens: list[OutputToken] = []
        self.rows: list[bytes] = []
        """As JSON, made once: they go out many times."""
        self._pieces = Pieces(self._facts.decode)

    def catch_up(self, output: Output) -> None:
        """Changes: has a row for each token of the output."""
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
        return self._pieces.all()


class TokensFold(Fold):
    """One request at a time: the one called `rid`, or the newest that has a token. `by` is what the still picture colours."""

    keeps_history = True
    sees = SEES
    only_constrained = False
    name = "tokens"
    num_behind = 0
    """Places behind the last token that may be asked about."""

    def __init__(self, facts: Facts | None = None, rid: str | None = None, by: str = "probability") -> None:
        if by not in MEASURES:
            raise InvalidRequest("by", by, f"one of {', '.join(MEASURES)}")
        super().__init__(facts)
        self.rid = rid
        self.by = by
        self.outputs: dict[str, Output] = {}
        """By request id, the oldest first."""
        self._ended: OrderedDict[str, None] = OrderedDict()
        """Those of them that have ended, the first to end first."""
        self._drawn: tuple[Output, Drawn] | None = None

    def handlers(self) -> Handlers:
        return {RequestArrived: self._arrived, TokenSampled: self._sampled, RequestFinished: self._finished}

    # -- events -------------------------------------------------------------------------------------------------

    def _arrived(self, event: RequestArrived) -> None:
        self.outputs.pop(event.rid, None)  # an id may be used again
        self.outputs[event.rid] = Output(event.rid, event.grammar)
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
            del output.tokens[event.num_output :]  # an abort takes back what nobody has seen

    # -- questions ----------------------------------------------------------------------------------------------

    @property
    def shown(self) -> Output | None:
        if self.rid is not None:
            return self.outputs.get(self.rid)
        newest = next(self._newest(), None)
        if newest is None or newest.tokens:
            return newest
        return next((output for output in self._newest() if output.tokens), newest)

    def _newest(self) -> Iterator[Output]:
        """Those that this view speaks of, the newest first."""
        return filter(self._is_listed, reversed(self.outputs.values()))

    def show(self, rid: str | None) -> None:
        """Changes: the request to show; None for the newest."""
        if rid != self.rid:
            self.rid = rid
            self.version += 1

    @property
    def note(self) -> str:  # type: ignore[override]
        if self.rid is not None and self.rid not in self.outputs:
            newest = f"{self.facts.opens(self.name)} without an id shows the newest"
            return f"no request is called {visible(self.rid)}, or it was too long ago\n{newest}"
        return ""

    @property
    def empty(self) -> str:  # type: ignore[override]
        if ((output := self.shown) is not None and output.tokens) or self.note:
            return ""
        return f"No request has produced a token yet. Leave this view open and run a cell with {self.facts.begins}"

    def picture(self) -> TokenStrip:
        output = self.shown
        if output is None:
            return TokenStrip("", (), (), self.note or self.empty, self.by)
        tokens = tuple(output.tokens[-MAX_STILL:])
        texts = tuple(self._draw(output).texts[-MAX_STILL:])
        said = {token.token_id for token in tokens} | {i for token in tokens for i in alternatives(token)}
        names = {i: self._name(i) for i in said}
        return TokenStrip(output.rid, tokens, texts, output.finish, self.by, output.detail_s, names, self.facts.by_magic)

    def state(self) -> dict[str, Any]:
        """`rows` are the last tokens: text, kind, a level for each measure (`levels`), probability, entropy, rank, seconds
        since the token before, allowed tokens, removed probability."""
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
        }  # fmt: skip

    def detail(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """{"id": [rid, position]}: what is known of this token; with {"why": a token id} whether that was allowed there."""
        output, position = self._place(asked)
        if "why" in asked:
            return {"why": str(self._grammar(output).why_at_step(asked["why"], output.ids, position))}
        if position == len(output.tokens):
            return {}
        token = output.tokens[position]
        told: dict[str, Any] = {"text": visible(self._draw(output).texts[position]), "words": visible(token.words(self._name))}
        if (detail := token.detail) is not None:
            told["before"] = [[i, visible(self._name(i)), share, allowed(token, i, share)] for i, share in detail.before]
            told["after"] = [[i, visible(self._name(i)), share] for i, share in detail.after]
            told |= {"removed": detail.removed, "overruled": detail.overruled, "cost_s": detail.cost_s}
        return told

    def _is_listed(self, output: Output) -> bool:
        return output.grammar is not None or not self.only_constrained

    def _place(self, asked: Mapping[str, Any]) -> tuple[Output, int]:
        rid, position = asked.get("id") or ("", -1)
        output = self.outputs.get(rid)
        if output is None or not 0 <= position < len(output.tokens) + self.num_behind:
            raise InvalidRequest("token", f"{rid}:{position}", "a token of a request that is remembered")
        return output, position

    def _grammar(self, output: Output) -> Any:
        if output.grammar is None or self.facts.grammar is None:
            raise InvalidRequest("rid", output.rid, "a request with a constraint", hint="without one every token is allowed")
        return self.facts.grammar(output.grammar)

    def _draw(self, output: Output) -> Drawn:
        if self._drawn is None or self._drawn[0] is not output:
            self._drawn = (output, Drawn(self.facts))
        self._drawn[1].catch_up(output)
        return self._drawn[1]

    def _name(self, token_id: int) -> str:
        return self.facts.decode([token_id])


def alternatives(token: OutputToken) -> set[int]:
    """Ids that token detail speaks of."""
    detail = token.detail
    return set() if detail is None else {detail.drawn, *(i for i, _ in detail.before), *(i for i, _ in detail.after)}


def allowed(token: OutputToken, token_id: int, share: float) -> bool | None:
    """Whether the constraint allowed one of the likeliest tokens; None where its detail does not tell."""
    detail = token.detail
    if detail is None or not detail.after:
        return True
    if any(i == token_id for i, _ in detail.after):
        return True
    could_be = share / max(1 - detail.removed, 1e-9) <= detail.after[-1][1] * 1.001 and len(detail.after) == len(detail.before)
    return None if could_be else False


def _row(text: str, token: OutputToken) -> list[Any]:
    detail = token.detail
    told = [None] * 3 if detail is None else [round(detail.probability, 5), round(detail.entropy, 3), detail.rank]
    latency_s = None if token.latency_s is None else round(token.latency_s, 5)
    removed = None if detail is None or not detail.after else round(detail.removed, 5)
    return [text, KINDS.index(token.kind), levels(token), *told, latency_s, token.num_allowed, removed]
