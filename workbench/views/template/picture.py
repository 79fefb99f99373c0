"""A conversation as a still picture: the writer of each token, the stored part, and the place where two turns part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

from workbench.html.escape import to_html, visible
from workbench.html.parts import View, lines, plural, soft, table
from workbench.views.seen import SeenPicture
from workbench.views.template.state import PromptToken, Turn

SEES = "A conversation as the model reads it, token by token: who wrote what, what is stored, where the prefix breaks."
MAX_DRAWN = 3000
"""Tokens drawn one by one; of a longer prompt the beginning, the end and the part around the break."""
AROUND = 8
"""Tokens shown on either side of the place where two turns part."""
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, repr=False)
class TemplateView(View):
    """One turn. `before` is the turn to compare with, `reuse` the cache's answer for these tokens (`engine.cache.explain`)."""

    style = Path(__file__).with_name("view.css")

    turn: Turn
    before: Turn | None = None
    reuse: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    """Why the cache would reuse no more."""

    @cached_property
    def num_same(self) -> int | None:
        """Tokens with which both turns begin; None without a turn to compare with."""
        if self.before is None:
            return None
        pairs = zip(self.before.keys, self.turn.keys, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    @cached_property
    def break_at(self) -> int | None:
        """First token that differs from the turn before; None where one turn continues the other."""
        same = self.num_same
        if same is None or self.before is None or same in (len(self.before.tokens), len(self.turn.tokens)):
            return None
        return same

    @property
    def num_cached(self) -> int:
        return int(self.reuse.get("num_cached", 0))

    # -- in words -----------------------------------------------------------------------------------------------

    def summary(self) -> str:
        said = sum(token.message is not None for token in self.turn.tokens)
        messages, tokens = plural(len(self.turn.roles), "message"), plural(len(self.turn.tokens), "token")
        seen = sum(picture.num_tokens for picture in self.turn.pictures)
        shown = f" ({seen:,} of {plural(len(self.turn.pictures), 'picture')})" if seen else ""
        return f"{messages}, {tokens}: {said:,} written in them{shown}, {len(self.turn.tokens) - said:,} by the template"

    def cache_says(self) -> str:
        if not self.reuse:
            return ""
        why = f", {self.why}" if self.why else ", and the last token is always computed"
        first = f"the first {self.num_cached:,}" if self.num_cached else "none"
        return f"The cache would reuse {first} of {plural(len(self.turn.tokens), 'token')}{why}."

    def break_says(self) -> str:
        """Describes where the two turns part."""
        if self.before is None or self.num_same is None:
            return ""
        same, old, new = self.num_same, self.before.tokens, self.turn.tokens
        if same == len(old) == len(new):
            return f"Both turns are the same {plural(same, 'token')}."
        if same == len(old):
            return f"This turn begins with all {plural(same, 'token')} of the turn before and goes on: nothing breaks."
        if same == len(new):
            return f"The turn before begins with all {plural(same, 'token')} of this one."
        was, is_now = visible(repr(old[same].text)), visible(repr(new[same].text))
        return (
            f"Both turns begin with the same {plural(same, 'token')}, then the prefix breaks in {self.turn.place(same)}: "
            f"{was} before, {is_now} now. The {plural(len(new) - same, 'token')} from there on share nothing with it."
        )

    def missing_says(self) -> str:
        names = [f"{i} ({self.turn.roles[i]})" for i in self.turn.missing]
        return f"Not in the text as it was written: message {', '.join(names)}." if names else ""

    def sentences(self) -> list[str]:
        return [says for says in (self.summary() + ".", self.break_says(), self.cache_says(), self.missing_says()) if says]

    # -- as text, data, HTML ------------------------------------------------------------------------------------

    def to_text(self) -> str:
        rows = [
            (
                self.turn.roles[message] if message is not None else "template",
                str(len(group)),
                repr("".join(t.text for t in group)),
            )
            for message, group in _by_message(self.turn.tokens)
        ]
        return "\n".join(
            [*map(visible, self.sentences()), *([lines(("by", "tokens", "text"), rows, numeric=(1,))] if rows else [])]
        )

    def to_dict(self) -> dict[str, Any]:
        known = {
            "roles": list(self.turn.roles),
            "tokens": [{"id": t.id, "text": t.text, "message": t.message, "role": self.turn.role(t)} for t in self.turn.tokens],
            "missing": list(self.turn.missing),
            "pictures": [{"start": one.start, "end": one.end, **asdict(SeenPicture.of(one))} for one in self.turn.pictures],
        }
        compared = {"num_same": self.num_same, "break": self.break_says()} if self.before is not None else {}
        return known | compared | ({"cache": dict(self.reuse)} if self.reuse else {})

    def body(self) -> str:
        head = f"<p><b>Chat template</b></p>{soft(SEES)}" + "".join(f"<p>{to_html(says)}</p>" for says in self.sentences())
        rows = self.around()
        both = table(("turn", "same", "then"), rows) if rows else ""
        return f'{head}<div class="wb-text">{self._drawn()}</div>{self._key()}{both}'

    def _key(self) -> str:
        names = [*dict.fromkeys(role for role in self.turn.roles)]
        keys = [f'<span class="wb-key"><span class="{_kind(name)}"></span>{to_html(name)}</span>' for name in names]
        keys.append('<span class="wb-key wb-own">grey: the template</span>')
        keys += ['<span class="wb-key"><span class="wb-reused"></span>underlined: reused</span>'] if self.num_cached else []
        return f"<p>{' '.join(keys)}</p>"

    def _drawn(self) -> str:
        html, last = "", -1
        for start, end in self.windows():
            num_left_out = start - last - 1
            left_out = soft(f"… {plural(num_left_out, 'token')}, all are in view.turn.tokens …") if num_left_out else ""
            html += left_out + self._stretch(start, end)
            last = end - 1
        return html

    def windows(self) -> list[tuple[int, int]]:
        """Returns the ranges of tokens that are drawn."""
        size, middle = len(self.turn.tokens), self.num_same or self.num_cached
        if size - sum(picture.end - picture.start - 1 for picture in self.turn.pictures) <= MAX_DRAWN:
            return [(0, size)]
        third = MAX_DRAWN // 3
        wanted = [(0, third), (max(third, middle - third // 2), min(size - third, middle + third // 2)), (size - third, size)]
        return [(start, end) for start, end in wanted if start < end]

    def _stretch(self, start: int, end: int) -> str:
        html, at = "", start
        for message, group in _by_message(self.turn.tokens[start:end]):
            role = None if message is None else self.turn.roles[message]
            tokens = "".join(self._token(t, at + i) for i, t in enumerate(group))
            at += len(group)
            kind, name = (_kind(role), f' data-name="{to_html(role)}"') if role is not None else ("wb-own", "")
            html += f'<span class="wb-tok {kind}"{name}>{tokens}</span>'
        return html

    def _token(self, token: PromptToken, index: int) -> str:
        tag = "u" if index < self.num_cached else "span"
        broken = '<b class="wb-cut">▼ breaks</b>' if index == self.break_at else ""
        title, drawn = f"token {index}, id {token.id}", to_html(token.text)
        if token.picture is not None:
            picture = self.turn.pictures[token.picture]
            if index != picture.start:
                return broken
            title, drawn = f"tokens {index} to {picture.end - 1}", SeenPicture.of(picture).to_html()
        return f'{broken}<{tag} title="{title}">{drawn}</{tag}>'

    def around(self) -> list[tuple[str, str, str]]:
        """Returns both turns around the place where they part: (which, the same, what follows)."""
        at = self.break_at
        if at is None or self.before is None:
            return []
        turns = (("before", self.before), ("now", self.turn))
        return [
            (name, _joined(turn.tokens[max(0, at - AROUND) : at]), _joined(turn.tokens[at : at + AROUND])) for name, turn in turns
        ]


def _by_message(tokens: Sequence[PromptToken]) -> list[tuple[int | None, list[PromptToken]]]:
    return [(message, list(group)) for message, group in groupby(tokens, key=lambda token: token.message)]


def _kind(role: str) -> str:
    return f"wb-said wb-by-{role}" if role in ROLES else "wb-said"


def _joined(tokens: Sequence[PromptToken]) -> str:
    return repr("".join(token.text for token in tokens))
