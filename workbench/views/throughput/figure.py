"""The charts of throughput and memory as a plotly figure. plotly is imported when one is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.errors import NotSupported, install
from workbench.views.throughput.charts import top_of_pages

BLUE, ORANGE, GREEN, INK, LINE = "#3b82f6", "#d97706", "#16a34a", "#78818c", "rgba(128,128,128,.25)"
PLACES = {
    "output": (1, 1), "prefill": (1, 1), "running": (1, 2), "waiting": (1, 2), "pages_owned": (2, 1), "pages_tree": (2, 1),
    "pages_free": (2, 1), "hit_rate": (2, 2), "recompute_tax": (2, 2),
}  # fmt: skip
"""Row and column of the chart of each series; traces stand in this order."""
AREAS = {"pages_owned": ("running", BLUE, ""), "pages_tree": ("tree", GREEN, "/"), "pages_free": ("free", INK, ".")}
MARKS = {"": "■", "/": "▨", ".": "░"}
NAMES = {"prefill": "prefill (right axis)", "hit_rate": "cached", "recompute_tax": "computed again"}
"""Names of lines that differ from the name of their column."""
TITLES = {(1, 1): "tokens per second", (1, 2): "requests", (2, 1): "KV pages, up to what was used", (2, 2): "shares"}


def figure(series: Mapping[str, Sequence[Any]]) -> Any:
    """Returns a plain `plotly.graph_objects.Figure` of the columns of `ThroughputFold.series`."""
    try:
        from plotly import graph_objects as go
        from plotly.subplots import make_subplots
    except ImportError:
        raise NotSupported("charts need plotly", hint=install("notebook")) from None
    fig = make_subplots(
        rows=2, cols=2, subplot_titles=[f"{title}<br>{_keys(place)}" for place, title in TITLES.items()],
        specs=[[{"secondary_y": True}, {}], [{}, {}]], horizontal_spacing=0.15, vertical_spacing=0.24,
    )  # fmt: skip
    for name, (row, col) in PLACES.items():
        place = {"row": row, "col": col} | ({"secondary_y": name == "prefill"} if (row, col) == (1, 1) else {})
        fig.add_trace(go.Scatter(x=series["t"], y=series[name], **_style(name)), **place)
    fig.update_layout(
        height=420, margin={"l": 45, "r": 45, "t": 40, "b": 25}, hovermode="x unified", template="none",
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"color": INK, "size": 11},
        showlegend=False, autosize=True, uirevision="keep",
    )  # fmt: skip
    fig.update_annotations(font={"size": 12, "color": INK})
    fig.update_xaxes(gridcolor=LINE, zeroline=False, ticksuffix=" s")
    fig.update_yaxes(gridcolor=LINE, zeroline=False, rangemode="tozero")
    fig.update_yaxes(range=[0, 1.02], tickformat=".0%", row=2, col=2)
    fig.update_yaxes(range=[0, top_of_pages(series)], row=2, col=1)
    fig.update_yaxes(showgrid=False, secondary_y=True, row=1, col=1)
    return fig


def _keys(place: tuple[int, int]) -> str:
    """Returns the key of a chart for its title: plotly's legend lies over the charts once a page changes its width."""
    keys = []
    for style in (_style(name) for name, at in PLACES.items() if at == place):
        line, pattern = style["line"], style.get("fillpattern") or {"shape": ""}
        mark = MARKS[pattern["shape"]] if "stackgroup" in style else "╍" if "dash" in line else "━"
        keys.append(f'<span style="color:{line["color"]}">{mark}</span> {style["name"]}')
    return "  ".join(keys)


def _style(name: str) -> dict[str, Any]:
    """Returns the style of a trace: lines differ in dashes and areas in patterns, besides the colour."""
    line = {"width": 1.8}
    match name:
        case "output" | "running" | "hit_rate":
            return {"name": NAMES.get(name, name), "mode": "lines", "line": line | {"color": BLUE}}
        case "prefill" | "waiting" | "recompute_tax":
            return {"name": NAMES.get(name, name), "mode": "lines", "line": line | {"color": ORANGE, "dash": "dash"}}
    shown, colour, shape = AREAS[name]
    pattern = {"shape": shape, "size": 5, "solidity": 0.25}
    return {"name": shown, "mode": "lines", "line": {"width": 1, "color": colour}, "stackgroup": "pages",
            "fillpattern": pattern if shape else None}  # fmt: skip
