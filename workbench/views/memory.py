"""The memory ledger of an engine: the bytes of each part, the use of the KV pool, and how many requests fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.html.escape import to_html, visible
from workbench.html.parts import BarPart, View, bar, lines, size, table


@dataclass(frozen=True, repr=False)
class Memory(View):
    """`ledger` is what `Engine.memory()` returns: sizes in bytes, the KV pool in tokens."""

    engine: str
    model: str
    ledger: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return dict(self.ledger)

    def to_text(self) -> str:
        m = self.ledger
        uses = f"{m['tokens_running']:,} running, {m['tokens_tree']:,} kept for reuse, {m['tokens_free']:,} free"
        parts = [
            visible(f"Memory of engine {self.engine} ({self.model})"),
            lines((), self._bytes(), numeric=(1,)),
            f"KV pool: {m['kv_capacity_tokens']:,} tokens: {uses}",
            lines(("a request of", "fits at once"), self._fits(), numeric=(0, 1)),
        ]
        return "\n\n".join(parts)

    def body(self) -> str:
        m = self.ledger
        pool = [
            BarPart("running", m["tokens_running"], f"{m['tokens_running']:,}", "decode"),
            BarPart("kept for reuse", m["tokens_tree"], f"{m['tokens_tree']:,}", "reused"),
            BarPart("free", m["tokens_free"], f"{m['tokens_free']:,}", "free"),
        ]
        return "".join(
            [
                f'<p><b>Memory</b> <span class="wb-soft">engine {to_html(self.engine)}, {to_html(self.model)}</span></p>',
                table((), self._bytes(), numeric=(1,)),
                f"<p>KV pool: {m['kv_capacity_tokens']:,} tokens</p>",
                bar(pool),
                table(("a request of", "fits at once"), self._fits(), numeric=(0, 1)),
            ]
        )

    def _bytes(self) -> list[tuple[str, str, str]]:
        m = self.ledger
        return [
            ("weights", size(m["weights_bytes"]), ""),
            ("KV pool, written so far", size(m["kv_touched_bytes"]), f"grows to {size(m['kv_capacity_bytes'])} at most"),
            ("KV of one token", size(m["kv_bytes_per_token"]), f"in {m['kv_cache_dtype']}"),
            ("the process, all in all", size(m["process_rss_bytes"]), "resident, with Python and the libraries"),
            ("available on this machine", size(m["available_bytes"]), ""),
        ]

    def _fits(self) -> list[tuple[str, str]]:
        return [(f"{int(length):,} tokens", f"{number:,}") for length, number in self.ledger["max_concurrency"].items()]
