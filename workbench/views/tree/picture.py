"""The radix tree, and one node of it, as still pictures: text, and HTML without script."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import log2
from pathlib import Path
from typing import Any

from workbench.html.escape import to_html, visible
from workbench.html.parts import BarPart, View, bar, duration, key, plural, size, soft, table
from workbench.views.seen import SeenPicture, pictures_html

SEES = "Text that is stored once: what goes on from a text is indented below it. The wider a block, the more tokens."
MAX_LINES, LINE_WIDTH = 60, 56
"""Nodes in the text form, and characters of a node's text."""


@dataclass(frozen=True, repr=False)
class NodeFacts(View):
    """One node of the tree. Times are on the engine's clock, `age_s` and `idle_s` are those when it was asked for."""

    id: int
    parent_id: int
    children: tuple[int, ...]
    namespace: str
    token_ids: tuple[int, ...]
    text: str
    text_before: str
    num_before: int
    """Tokens in the nodes above it."""
    num_hits: int
    made_by: str
    used_by: tuple[str, ...]
    """Last requests that found it, the newest last."""
    held_by: tuple[str, ...]
    """Running requests whose path runs through it: it cannot be evicted."""
    made_at: float
    used_at: float
    age_s: float
    idle_s: float
    kv_bytes: int = 0
    """Size of its K/V; 0 where that is unknown."""
    kv_dtype: str = ""
    pictures: tuple[SeenPicture, ...] = ()
    """Pictures that have tokens in it."""

    @property
    def evictable(self) -> str:
        """Answer in words: may the node be evicted?"""
        if self.held_by:
            return f"no: running requests use it ({', '.join(self.held_by)})"
        return "yes, after the nodes below it" if self.children else "yes"

    def facts(self) -> list[tuple[str, str]]:
        return [
            ("tokens", f"{len(self.token_ids):,}, {place_in_text(self.num_before)}"),
            *([("pictures", "; ".join(picture.words for picture in self.pictures))] if self.pictures else []),
            *([("K/V", f"{size(self.kv_bytes)} in {self.kv_dtype}")] if self.kv_bytes else []),
            ("made by", f"{self.made_by}, {duration(self.age_s)} ago"),
            ("found by", f"{plural(self.num_hits, 'time')}: {', '.join(self.used_by)}" if self.used_by else "not yet"),
            ("last used", f"{duration(self.idle_s)} ago"), ("evictable", self.evictable),
            ("children", ", ".join(map(str, self.children)) or "none"),
            *([("namespace", self.namespace)] if self.namespace else []),
        ]  # fmt: skip

    def to_text(self) -> str:
        facts = (f"  {name:<9}  {visible(value)}" for name, value in self.facts())
        return "\n".join([f"node {self.id}  {visible(self.text)!r}", *facts])

    def body(self) -> str:
        text = f'<span class="wb-soft">{to_html(self.text_before)}</span><u>{to_html(self.text)}</u>'
        shown = pictures_html(self.pictures)
        return f'<p><b>node {self.id}</b></p><div class="wb-text">{text}</div>{shown}{table((), self.facts())}'

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class NodeLine:
    """One node in the picture of the tree, with the sum of the nodes below it that are left out."""

    depth: int
    id: int
    text: str
    num_tokens: int
    num_hits: int
    idle_s: float
    made_by: str
    held_by: tuple[str, ...]
    namespace: str
    num_hidden: int
    hidden_tokens: int

    @property
    def kind(self) -> str:
        """Pattern: held now, found again, or stored and not found yet."""
        return "decode" if self.held_by else "reused" if self.num_hits else "wait"

    @property
    def facts(self) -> str:
        hits = f", found {plural(self.num_hits, 'time')}" if self.num_hits else ""
        held = f", held by {', '.join(self.held_by)}" if self.held_by else ""
        return f"{plural(self.num_tokens, 'token')}{hits}{held}"

    @property
    def idle(self) -> str:
        return "" if self.held_by else f", idle {duration(self.idle_s)}"

    @property
    def hidden(self) -> str:
        return f"{plural(self.num_hidden, 'more node')}, {plural(self.hidden_tokens, 'token')}" if self.num_hidden else ""


KEY = (("decode", "held by a running request"), ("reused", "found again"), ("wait", "stored, not found yet"))


@dataclass(frozen=True, repr=False)
class TreePicture(View):
    """The tree at one moment."""

    style = Path(__file__).with_name("view.css")
    lines: tuple[NodeLine, ...]
    """Nodes, parents before their children; of a large tree those in the largest subtrees."""
    num_nodes: int
    num_tokens: int
    num_referenced: int
    num_evicted: int
    empty: str = ""
    """While nothing is stored: that, and the code that changes it, in one line."""
    opens: str = 'engine.view("tree")'
    """Code that shows all of it."""

    @property
    def num_saved(self) -> int:
        """Tokens that were asked for and not computed, of those still stored."""
        return self.num_referenced - self.num_tokens

    def summary(self) -> str:
        gone = f", {plural(self.num_evicted, 'token')} evicted" if self.num_evicted else ""
        asked = f"of {plural(self.num_referenced, 'token')} asked for, {self.num_tokens:,} computed and stored"
        share = f" ({self.num_saved / self.num_referenced:.0%})" if self.num_saved else ""
        return f"Radix tree: {plural(self.num_nodes, 'node')}; {asked}, {self.num_saved:,} reused{share}{gone}"

    def to_text(self) -> str:
        return "\n".join([self.summary(), *(self._text_lines() if self.lines else [visible(self.empty)])])

    def _text_lines(self) -> Iterator[str]:
        namespace = ""
        for line in self.lines[:MAX_LINES]:
            if line.namespace != namespace:
                namespace = line.namespace
                yield f"namespace {visible(namespace)!r}"
            indent, text = "  " * line.depth, visible(line.text)
            text = repr(text if len(text) <= LINE_WIDTH else f"{text[:LINE_WIDTH]}…")
            yield f"{indent}#{line.id} {text}  {line.facts}"
            if line.hidden:
                yield f"{indent}  … {line.hidden}"
        if (rest := self._rest(min(len(self.lines), MAX_LINES))) is not None:
            yield rest

    def _rest(self, num_shown: int) -> str | None:
        if num_shown >= self.num_nodes:
            return None
        ways = f'{self.opens} scrolls through all, engine.cache.search("...") finds them by their text'
        return f"… {num_shown:,} of {plural(self.num_nodes, 'node')} are shown: {ways}"

    def body(self) -> str:
        head = f"<p><b>{to_html(self.summary())}</b></p>"
        if not self.lines:
            return f"{head}{soft(SEES)}{soft(self.empty)}"
        rest = self._rest(len(self.lines))
        shares = [BarPart("stored, computed once", self.num_tokens, f"{self.num_tokens:,}", "prefill"),
                  BarPart("taken from here, not computed again", self.num_saved, f"{self.num_saved:,}", "reused")]  # fmt: skip
        return (
            f'{head}{soft(SEES)}{bar(shares)}<div class="wb-nodes">{"".join(self._html_lines())}</div>'
            f"{soft(rest or '')}<div>{key(*KEY)}</div>{soft('idle: from its last use to the last step of the engine')}"
        )

    def _html_lines(self) -> Iterator[str]:
        namespace = ""
        for line in self.lines:
            if line.namespace != namespace:
                namespace = line.namespace
                yield f"<div><b>namespace {to_html(namespace)}</b></div>"
            indent = f"margin-left:{1.4 * line.depth:.1f}em"
            block = f'<span class="wb-block wb-{line.kind}" style="width:{block_em(line.num_tokens):.1f}em;{indent}"></span>'
            text = f'<span class="wb-name">{to_html(line.text.replace(chr(10), "⏎"))}</span>'
            plain = f'<span class="wb-unstyled">{"&emsp;" * line.depth}</span>'
            yield f"<div>{plain}{block}{_side(f'#{line.id}')} {text} {_side(f'{line.facts}{line.idle}')}</div>"
            if line.hidden:
                yield f'<div><span style="{indent};padding-left:1.4em" class="wb-soft">… {to_html(line.hidden)}</span></div>'

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def place_in_text(num_before: int) -> str:
    """Describes where a node's text stands, from the number of tokens in the nodes above it."""
    return f"after {plural(num_before, 'token')} in the nodes above it" if num_before else "the beginning of the text"


def block_em(num_tokens: int) -> float:
    """Returns the width of a node's block: each doubling of its tokens adds the same."""
    return 0.6 + 0.45 * log2(1 + num_tokens)


def _side(text: str) -> str:
    return f'<span class="wb-side">{to_html(text)}</span>'
