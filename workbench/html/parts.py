"""The few pieces every static view is made of: a card, a table, a bar, and numbers written for people.

Static HTML and CSS, no script, so a saved notebook, GitHub and an exported page show the same. Colours are JupyterLab's own
where it defines them; every mark also has a shape (underline, hatching, label), so hue is never the only difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from workbench.html.escape import to_html, visible

# The tints are translucent: they lie on a light and on a dark ground alike. JupyterLab's rules for tables in outputs
# (centred, to the right, striped) are more specific than ours, hence `!important`.
CSS = """
.wb{--wb-ink:var(--jp-content-font-color1,var(--vscode-editor-foreground,#1f2328));
--wb-soft:var(--jp-content-font-color2,var(--vscode-descriptionForeground,#59636e));
--wb-ground:var(--jp-layout-color1,var(--vscode-editor-background,#fff));
--wb-line:var(--jp-border-color2,var(--vscode-panel-border,#c8ccd1));
color:var(--wb-ink);background:var(--wb-ground);font:13px/1.5 system-ui,sans-serif;max-width:62em;padding:.5em .75em;
border:1px solid var(--wb-line);border-radius:4px;overflow-wrap:anywhere}
@media screen{.wb:not(.wb-live){max-height:66em;overflow:auto}}
@media (prefers-color-scheme:dark){.wb{--wb-ink:var(--jp-content-font-color1,var(--vscode-editor-foreground,#e6edf3));
--wb-soft:var(--jp-content-font-color2,var(--vscode-descriptionForeground,#9aa4af));
--wb-ground:var(--jp-layout-color1,var(--vscode-editor-background,#0d1117));
--wb-line:var(--jp-border-color2,var(--vscode-panel-border,#3d444d))}}
.wb p{margin:.25em 0}.wb .wb-soft,.wb summary{color:var(--wb-soft)}.wb details{margin:.25em 0}.wb summary{cursor:pointer}
.wb .wb-text{white-space:pre-wrap;margin:.25em 0;padding:.25em .5em;border-left:3px solid var(--wb-line);
font-family:var(--jp-code-font-family,ui-monospace,monospace);max-height:24em;overflow:auto}
.wb .wb-out{border-left-color:#3b82f6}
.wb .wb-tok>:nth-child(even){background-color:rgba(128,128,128,.16)}
.wb u,.wb .wb-reused{background-image:repeating-linear-gradient(135deg,rgba(22,163,74,.28) 0 2px,rgba(22,163,74,.12) 2px 7px)}
.wb u{text-decoration:underline;text-decoration-color:#16a34a;text-decoration-thickness:2px;text-underline-offset:3px}
.wb i{font-style:inherit;color:var(--wb-soft);border-bottom:2px dotted var(--wb-soft)}
.wb .wb-con{border-bottom:1px solid #3b82f6}
.wb .wb-over{border-bottom:3px double #d97706;background-color:rgba(217,119,6,.25)!important}
.wb .wb-strip{max-height:32em}.wb .wb-strip>*{border-radius:2px;margin-right:1px}
.wb .wb-curve{max-height:40em;line-height:1.25}
.wb .wb-col{display:inline-flex;flex-direction:column;justify-content:flex-end;vertical-align:bottom;height:4.6em;
margin-right:1px}
.wb .wb-col>:first-child{box-sizing:border-box;min-width:3px;border:1px solid var(--wb-line)}
.wb .wb-col>:last-child{white-space:pre}
.wb .wb-scale>span{padding:0 .4em;margin-left:.3em;border:1px solid var(--wb-line);border-radius:2px;color:var(--wb-ink)}
.wb .wb-strip .wb-l0{background-color:transparent!important}
.wb .wb-l1{background-color:rgba(139,92,246,.15)!important}.wb .wb-l2{background-color:rgba(139,92,246,.3)!important}
.wb .wb-l3{background-color:rgba(139,92,246,.48)!important}.wb .wb-l4{background-color:rgba(139,92,246,.7)!important}
.wb .wb-kinds>span{display:inline-block;margin-right:1.2em}
.wb table{border-collapse:collapse;margin:.4em 0!important;color:inherit;font-size:inherit;border:0}
.wb tr{background:none!important}
.wb th,.wb td{padding:.15em .9em .15em 0!important;border:0;border-bottom:1px solid var(--wb-line);text-align:left!important;
vertical-align:top;background:none;color:inherit;white-space:normal}
.wb th{font-weight:600;overflow-wrap:normal}
.wb .wb-num{text-align:right!important;font-variant-numeric:tabular-nums;white-space:nowrap}
.wb .wb-bar{display:flex;height:.9em;margin:.4em 0 .2em;border:1px solid var(--wb-line);border-radius:2px;overflow:hidden}
.wb .wb-bar>span{min-width:2px}
.wb .wb-key{display:inline-block;margin:0 1.2em .2em 0;white-space:nowrap}
.wb .wb-key>span{display:inline-block;
width:1.4em;height:.8em;margin-right:.4em;border:1px solid var(--wb-line);vertical-align:-1px}
.wb .wb-wait{background:radial-gradient(circle,rgba(128,128,128,.75) 1px,transparent 1.5px) 0 0/5px 5px}
.wb .wb-prefill{background:repeating-linear-gradient(45deg,rgba(217,119,6,.8) 0 3px,rgba(217,119,6,.35) 3px 6px)}
.wb .wb-decode{background:rgba(59,130,246,.75)}
.wb .wb-lost{background:repeating-linear-gradient(90deg,rgba(220,38,38,.75) 0 2px,transparent 2px 5px)}
.wb .wb-free{background:transparent}
.wb .wb-bad{background:rgba(220,38,38,.3);text-decoration:underline wavy #dc2626;text-underline-offset:3px}
.wb .wb-here{outline:1px solid #3b82f6;background:rgba(59,130,246,.2);border-radius:2px}
.wb .wb-fine{background:rgba(22,163,74,.15)}
.wb .wb-role{margin:.6em 0 0;font-weight:600}
.wb .wb-fork{display:flex;flex-wrap:wrap;gap:.25em .75em}
.wb .wb-branch{flex:1 1 15em;margin:.25em 0;padding-left:.75em;border-left:2px dashed var(--wb-line)}
.wb .wb-gap{background:rgba(59,130,246,.16);border-bottom:2px solid #3b82f6;padding:1px 0;-webkit-box-decoration-break:clone;
box-decoration-break:clone}
.wb .wb-gap.wb-given{background:none;border-bottom-style:dashed}
.wb .wb-gap::before,.wb .wb-tag::before{content:attr(data-name);color:var(--wb-soft);font:italic 10px system-ui,sans-serif;
padding:0 .3em;vertical-align:super}
.wb .wb-line{margin:0 0 0 .6em}.wb .wb-line[open]{margin-bottom:.75em}
.wb .wb-line td:first-child{overflow-wrap:normal}
.wb .wb-read{display:inline-flex;height:.7em;margin-right:.3em}
.wb .wb-read>span{border:1px solid var(--wb-line);box-sizing:border-box}
.wb .wb-branch .wb-read{width:auto!important}
.wb :is(.wb-bar,.wb-read,.wb-key)>.wb-reused{
background:repeating-linear-gradient(135deg,rgba(22,163,74,.8) 0 2px,rgba(22,163,74,.3) 2px 6px)}
.wb .wb-prob{display:inline-block;margin:.15em .5em .15em 0;text-align:center;font-size:11px;line-height:1.35;
font-family:var(--jp-code-font-family,ui-monospace,monospace);white-space:pre}
.wb .wb-said{border-bottom:2px solid var(--wb-soft);-webkit-box-decoration-break:clone;box-decoration-break:clone}
.wb .wb-said[data-name]::before{content:attr(data-name);color:var(--wb-soft);font:italic 10px system-ui,sans-serif;padding:0 .3em;
vertical-align:super}
.wb .wb-by-system{background:rgba(147,51,234,.16);border-bottom:3px double #9333ea}
.wb .wb-by-user{background:rgba(217,119,6,.16);border-bottom-color:#d97706}
.wb .wb-by-assistant{background:rgba(59,130,246,.16);border-bottom:2px dashed #3b82f6}
.wb .wb-by-tool{background:rgba(13,148,136,.16);border-bottom:2px dotted #0d9488}
.wb .wb-own{color:var(--wb-soft)}
.wb .wb-cut{color:#dc2626;font:bold 11px system-ui,sans-serif;border:1px solid #dc2626;border-radius:3px;padding:0 .3em;
margin:0 .2em}
.wb .wb-compile{background:repeating-linear-gradient(0deg,rgba(147,51,234,.8) 0 2px,rgba(147,51,234,.3) 2px 5px)}
.wb .wb-paused{background:repeating-linear-gradient(90deg,var(--wb-soft) 0 3px,transparent 3px 6px) 0 50%/100% 2px no-repeat}
.wb .wb-journal{overflow:auto;max-height:20em}.wb .wb-journal td{white-space:nowrap}
.wb .wb-lane,.wb .wb-pages-row{display:flex;align-items:center;gap:.6em;line-height:1.25}
.wb .wb-lane>:first-child{flex:0 0 clamp(8em,38%,22em);overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.wb .wb-lanes{max-height:32em;overflow:auto}
.wb .wb-lane>:last-child{flex:0 0 7em;color:var(--wb-soft);font-size:11px;white-space:nowrap;overflow:hidden}
.wb .wb-track{position:relative;flex:1 1 0;height:1em;margin:2px 0;border-bottom:1px solid var(--wb-line)}
.wb .wb-ends{flex:1 1 0;display:flex;justify-content:space-between}
.wb .wb-track>.wb-prefill{border-right:1px solid var(--wb-ground)}
.wb .wb-track.wb-tall{height:2.4em}
.wb .wb-track>*{position:absolute;bottom:0;height:100%;min-width:1px;box-sizing:border-box}
.wb .wb-mark{color:#dc2626;font:700 11px/1 system-ui,sans-serif}
.wb .wb-track>.wb-mark{bottom:auto;top:-.1em;height:auto;margin-left:-.4em}
.wb .wb-track>.wb-break{border-left:1px dashed var(--wb-soft)}
.wb .wb-pages-row>:first-child{flex:0 0 4.5em;color:var(--wb-soft);font-size:11px}
.wb .wb-pages{display:flex;flex:1 1 0;min-width:0;overflow:hidden;height:1.1em;margin:1px 0;border:1px solid var(--wb-line)}
.wb .wb-pages>span{min-width:0;overflow:hidden;white-space:nowrap;box-sizing:border-box;line-height:1}
.wb .wb-pages small{display:block;text-align:center;font:600 10px/1.4 system-ui,sans-serif}
.wb .wb-pages>.wb-decode,.wb .wb-pages>.wb-reused{border-right:1px solid var(--wb-ground)}
.wb .wb-pages>.wb-reused{background:repeating-linear-gradient(135deg,rgba(22,163,74,.8) 0 2px,rgba(22,163,74,.3) 2px 6px)}
.wb .wb-pages b{font:600 10px/1.4 system-ui,sans-serif;padding:0 3px;margin-left:2px;
background:var(--wb-ground);border-radius:2px}
.wb .wb-charts{display:flex;flex-wrap:wrap;gap:.25em 1.5em}.wb .wb-charts>svg{flex:1 1 22em;max-width:30em;min-width:18em}
.wb-charts svg text{fill:var(--wb-ink);font:12px system-ui,sans-serif}.wb-charts svg .wb-tick{fill:var(--wb-soft);font-size:10px}
.wb-charts svg text[font-weight]{font-weight:600}
.wb-charts svg path{fill:none}.wb-charts svg .wb-axis{stroke:var(--wb-line)}
.wb-charts svg .wb-line-a{stroke:#3b82f6;stroke-width:1.8}
.wb-charts svg .wb-line-b{stroke:#d97706;stroke-width:1.8;stroke-dasharray:5 3}
.wb-charts svg .wb-line-c{stroke:#16a34a;stroke-width:1.5;stroke-dasharray:2 2}
.wb-charts svg .wb-area-a{fill:#3b82f6;fill-opacity:.6}.wb-charts svg .wb-area-b{fill:#16a34a;fill-opacity:.25}
.wb .wb-way{width:16em}.wb .wb-way>div{display:flex;height:.9em;margin-top:.3em}
"""


class View:
    """A value that shows itself: `to_text` and `body` say how, everything else follows."""

    def to_text(self) -> str:
        raise NotImplementedError

    def body(self) -> str:
        """HTML inside the card; whatever came from outside has passed `workbench.html.escape`."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        raise NotImplementedError

    def to_html(self) -> str:
        return card(self.body())

    def save(self, path: str | Path) -> None:
        """Write a file of the kind its name ends in: `.html` a page, `.json` the data, anything else the text."""
        path = Path(path)
        kinds = {".html": lambda: document(self.to_html(), type(self).__name__), ".json": self.to_json}
        path.write_text(kinds.get(path.suffix.lower(), self.__str__)(), encoding="utf-8", errors="replace")

    def to_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(_encodable(self.to_dict())), indent=2).decode()

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()


@dataclass(frozen=True)
class Segment:
    """One part of a bar. `kind` is one of wait, prefill, decode, reused, lost, free."""

    label: str
    amount: float
    shown: str
    kind: str


def card(*blocks: str) -> str:
    return f'<style>{CSS}</style><div class="wb">{"".join(blocks)}</div>'


def soft(text: str) -> str:
    """A line that explains, in a softer colour."""
    return f'<p class="wb-soft">{to_html(text)}</p>' if text else ""


def document(body: str, title: str) -> str:
    """A page of its own: opens from disk, loads nothing."""
    head = f'<meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{to_html(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Sequence[int] = ()) -> str:
    """Cells are plain text and are escaped here; `numeric` columns stand to the right."""

    def row(cells: Sequence[str], tag: str) -> str:
        kinds = (' class="wb-num"' if i in numeric else "" for i in range(len(cells)))
        return "<tr>" + "".join(f"<{tag}{k}>{to_html(c)}</{tag}>" for k, c in zip(kinds, cells, strict=True)) + "</tr>"

    top = f"<thead>{row(head, 'th')}</thead>" if head else ""
    return f"<table>{top}<tbody>{''.join(row(cells, 'td') for cells in rows)}</tbody></table>"


def bar(segments: Sequence[Segment]) -> str:
    """Parts of a whole, and under it the key: every part has a pattern, a name and its number."""
    # Flex shares that add up to less than 1 would leave a part of the bar empty.
    percent = 100 / (sum(s.amount for s in segments) or 1.0)
    parts, keys = "", ""
    for s in segments:
        if s.amount > 0:
            parts += f'<span class="wb-{s.kind}" style="flex:{s.amount * percent:.4g} 0 0"></span>'
        keys += f'<span class="wb-key"><span class="wb-{s.kind}"></span>{to_html(s.label)} <b>{to_html(s.shown)}</b></span> '
    return f'<div class="wb-bar">{parts}</div><div>{keys}</div>'


def lines(head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Sequence[int] = ()) -> str:
    """The same table as aligned text."""
    cells = [[visible(cell) for cell in row] for row in ([head, *rows] if head else rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        parts = (c.rjust(w) if i in numeric else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        return "  ".join(parts).rstrip()

    return "\n".join(map(line, cells))


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(num_bytes: float) -> str:
    """1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(num_bytes) < 1024:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} TiB"


def duration(seconds: float) -> str:
    """Returns a time in words: 0.0042 -> "4.2 ms", 75 -> "1 min 15 s"."""
    if seconds < 0.00005:
        return "0 ms"
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _encodable(value: Any) -> Any:
    """JSON has no lone surrogates; text that holds one is written with replacement characters."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {str(_encodable(key)): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, (list, tuple)) else value
