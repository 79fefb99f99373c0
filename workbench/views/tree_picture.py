"""The radix tree as a still picture: one line a node, indented under its parent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from workbench.escape import to_html, visible
from workbench.views.parts import View, duration, plural, table


@dataclass(frozen=True, repr=False)
class NodeFacts(View):
    """One node of the tree. Times are on the engine's clock, `age_s` and `idle_s` as of the tree's last change."""

    id: int
    parent_id: int
    children: tuple[int, ...]
    namespace: str
    token_ids: tuple[int, ...]
    text: str
    text_before: str
    num_before: int
    num_hits: int
    made_by: str
    used_by: tuple[str, ...]
    """The last requests that found it, the newest last."""
    held_by: tuple[str, ...]
    """Running requests whose path runs through it: it cannot be evicted."""
    made_at: float
    used_at: float
    age_s: float
    idle_s: float

    def facts(self) -> list[tuple[str, str]]:
        lock = f"held by {', '.join(self.held_by)}" if self.held_by else "free: may be evicted" if not self.children else "free"
        return [
            ("tokens", f"{len(self.token_ids):,}, behind {self.num_before:,} of its parents"),
            ("made by", self.made_by), ("found by", ", ".join(self.used_by) or "nobody yet"), ("hits", f"{self.num_hits:,}"),
            ("age", f"{duration(self.age_s)}, last used {duration(self.idle_s)} ago"), ("lock", lock),
            ("children", ", ".join(map(str, self.children)) or "none"),
        ]  # fmt: skip

    def to_text(self) -> str:
        return "\n".join([f"node {self.id}: {visible(self.text)!r}", *(f"  {name:<9} {visible(v)}" for name, v in self.facts())])

    def body(self) -> str:
        before = to_html(self.text_before[-200:])
        text = f'<div class="wb-text"><span class="wb-soft">{before}</span><u>{to_html(self.text)}</u></div>'
        return f"<p><b>node {self.id}</b></p>{text}{table((), self.facts())}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, repr=False)
class TreePicture(View):
    """`rows` are (depth, node, tokens, hits, first text, held by)."""

    rows: tuple[tuple[int, int, int, int, str, tuple[str, ...]], ...]
    num_nodes: int
    num_tokens: int
    num_referenced: int
    num_evicted: int

    def summary(self) -> str:
        saved = f"{plural(self.num_tokens, 'token')} stored once, {self.num_referenced:,} referenced"
        return f"Radix tree: {plural(self.num_nodes, 'node')}, {saved}, {self.num_evicted:,} evicted"

    def to_text(self) -> str:
        return "\n".join(
            [self.summary(), *(f"{'  ' * d}#{i} {t} tokens, {h} hits {visible(s)!r}" for d, i, t, h, s, _ in self.rows)]
        )

    def body(self) -> str:
        lines = "".join(
            f'<p style="margin-left:{depth}em">#{i} <u>{to_html(text)}</u> <span class="wb-soft">{tokens:,} tokens, {hits:,} hits'
            f"{' · held by ' + to_html(', '.join(held)) if held else ''}</span></p>"
            for depth, i, tokens, hits, text, held in self.rows
        )
        return f"<p><b>{to_html(self.summary())}</b></p>{lines}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
