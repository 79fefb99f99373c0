"""Throughput and memory as a still picture: the numbers in words, and four small charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.html.escape import to_html
from workbench.html.parts import View, duration, lines, plural, soft, table
from workbench.views.throughput.charts import charts_of
from workbench.views.throughput.figure import figure
from workbench.views.throughput.state import GAUGES, Totals

SEES = "How fast, how busy and how full the engine is, and how much of its work the cache saved. Time runs to the right."


@dataclass(frozen=True, repr=False)
class ThroughputPicture(View):
    """`series` holds columns of equal length: `t` in seconds (the ends of points), rates per second, and the gauges."""

    style = Path(__file__).with_name("view.css")

    series: dict[str, list[Any]]
    totals: Totals
    width_s: float
    num_pages: int
    empty: str = ""
    """While nothing has happened: that, and the code that changes it, in one line."""
    reads: str = ""
    """The memory that decoding reads for a token, in words; empty where that is unknown."""

    @property
    def title(self) -> str:
        return title_of(len(self.series["t"]) * self.width_s)

    def facts(self) -> list[tuple[str, str]]:
        last = {name: self.series[name][-1] if self.series["t"] else None for name in GAUGES}
        return facts_of(self.totals, self.series["output"], last, self.reads)

    def to_text(self) -> str:
        return self.title + "\n" + lines((), self.facts())

    def body(self) -> str:
        head = f"<p><b>{to_html(self.title)}</b></p>{soft(SEES)}{soft(self.empty)}"
        charts = charts_of(self.series, self.num_pages) if len(self.series["t"]) > 1 else []
        drawn = f'<div class="wb-charts">{"".join(charts)}</div>' if charts else ""
        return head + drawn + table((), self.facts())

    def figure(self) -> Any:
        """Returns the charts as a plain plotly figure. Raises `NotSupported` without plotly."""
        return figure(self.series)

    def to_dict(self) -> dict[str, Any]:
        rates = {"hit_rate": self.totals.hit_rate, "recompute_tax": self.totals.recompute_tax}
        return {
            "title": self.title, "series": self.series, "totals": asdict(self.totals) | rates, "num_pages": self.num_pages,
            "facts": [list(fact) for fact in self.facts()],
        }  # fmt: skip


def title_of(seconds: float) -> str:
    """Returns the title of a window of this length."""
    return f"Throughput and memory, last {duration(seconds) if seconds else '0 s'}"


def facts_of(totals: Totals, rates: Sequence[float], last: Mapping[str, Any], reads: str) -> list[tuple[str, str]]:
    """Returns the facts as (name, words). `rates` are output tokens per second in the window, `last` the gauges at its end,
    `reads` the words for memory, if any."""
    hits = "no prompt yet" if totals.hit_rate is None else f"{totals.hit_rate:.0%}"
    pages = " / ".join(f"{last[name] or 0:,.0f}" for name in ("pages_free", "pages_tree", "pages_owned"))
    now, most = (rates[-1], max(rates)) if rates else (0.0, 0.0)
    return [
        ("output tokens per second", f"{now:,.0f} now, {most:,.0f} at most"),
        ("requests", f"{last['running'] or 0:,.0f} running, {last['waiting'] or 0:,.0f} waiting, {totals.num_finished:,} ended"),
        ("prompt tokens from the cache", f"{hits}: {totals.cached:,} of {totals.prompt:,}"),
        ("KV pages free / tree / running", pages),
        (
            "recompute tax",
            f"{totals.recompute_tax:.1%}: {totals.recomputed:,} of {totals.computed:,} computed tokens, "
            f"after {plural(totals.num_retractions, 'retraction')}",
        ),
        ("steps", f"{totals.num_steps:,} in {duration(totals.step_s)}, {totals.output:,} tokens out"),
        *([("memory read per token", reads)] if reads else []),
    ]
