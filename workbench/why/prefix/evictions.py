"""The journal of evictions: the request that needed the space, the policy's score, and whether the text was needed again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from workbench.html.escape import to_html, visible
from workbench.html.parts import View, duration, lines, plural, table

MAX_LISTED = 30
TEXT_WIDTH = 28
HEAD = ("node", "text", "tokens", "found", "idle", "left", "for", "wanted again", "age", "score", "made by")
NUMERIC = (2, 3, 4, 5, 8, 9)


@dataclass(slots=True)
class Evicted:
    """One node at the moment it left. `score` is the policy's key: the smallest leaves first."""

    node_id: int
    namespace: str
    token_ids: tuple[int, ...]
    num_before: int
    """Tokens of the nodes above it."""
    made_by: str
    num_hits: int
    age_s: float
    idle_s: float
    time: float
    score: float
    needed_by: str
    """The request that got the space; empty for a flush."""
    wanted_by: str = ""
    """The first request that needed it afterwards, and computed it again."""
    wanted_after_s: float | None = None


@dataclass(frozen=True, repr=False)
class EvictionJournal(View):
    """The last nodes that left, the newest first. `texts` holds the text of each of `nodes`."""

    nodes: tuple[Evicted, ...]
    texts: tuple[str, ...]
    num_tokens: int
    """Tokens that left in all."""
    policy: str
    now: float

    @property
    def title(self) -> str:
        if not self.nodes:
            return "Evictions: none in the event log"
        again = [node for node in self.nodes if node.wanted_by]
        num_again = plural(sum(len(node.token_ids) for node in again), "token")
        regret = f"{len(again):,} ({num_again}) had to be computed again" if again else "none was wanted again"
        unfound = sum(not node.num_hits for node in self.nodes)
        idle = duration(median(node.idle_s for node in self.nodes))
        return (
            f"Evictions{f' by {self.policy}' if self.policy else ''}: {plural(self.num_tokens, 'token')} left; of the last "
            f"{plural(len(self.nodes), 'node')} {unfound:,} had never been found, half were idle for {idle} or longer, {regret}"
        )

    def rows(self) -> list[tuple[str, ...]]:
        return [self._row(node, text) for node, text in zip(self.nodes[:MAX_LISTED], self.texts, strict=False)]

    def _row(self, node: Evicted, text: str) -> tuple[str, ...]:
        shown = visible(text if len(text) <= TEXT_WIDTH else f"{text[:TEXT_WIDTH]}…")
        again = "" if node.wanted_after_s is None else f"by {node.wanted_by}, {duration(node.wanted_after_s)} later"
        return (
            f"#{node.node_id}", repr(shown), f"{len(node.token_ids):,}", f"{node.num_hits:,}", duration(node.idle_s),
            f"{duration(max(self.now - node.time, 0))} ago", node.needed_by or "a flush", again, duration(node.age_s),
            f"{node.score:.6g}", node.made_by,
        )  # fmt: skip

    @property
    def rest(self) -> str:
        more = len(self.nodes) - MAX_LISTED
        return f"and {more:,} before them: engine.cache.evictions().nodes has all" if more > 0 else ""

    def to_text(self) -> str:
        listed = lines(HEAD, self.rows(), numeric=NUMERIC) if self.nodes else ""
        return "\n".join(part for part in (visible(self.title), listed, self.rest) if part)

    def body(self) -> str:
        listed = table(HEAD, self.rows(), numeric=NUMERIC) if self.nodes else ""
        rest = f'<p class="wb-soft">{self.rest}</p>' if self.rest else ""
        return f'<p><b>{to_html(self.title)}</b></p><div class="wb-journal">{listed}</div>{rest}'

    def to_dict(self) -> dict[str, Any]:
        nodes = [asdict(node) | {"text": text} for node, text in zip(self.nodes, self.texts, strict=True)]
        return {"policy": self.policy, "num_tokens": self.num_tokens, "nodes": nodes}
