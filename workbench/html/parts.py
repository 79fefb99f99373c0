"""The few pieces of every still picture: a card, a table, a bar, and numbers written for people.

Static HTML and CSS, no script, so a saved notebook, GitHub and an exported page show the same. Colours are JupyterLab's own
where it defines them. Every mark also has a shape (underline, hatching, label): hue is never the only difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from workbench.html.escape import to_html, visible
from workbench.html.styles import stylesheet

CARD = Path(__file__).with_name("card.css")


class View:
    """A value that shows itself. Subclasses write `to_text`, `body` and `to_dict`; the other forms follow from these."""

    style: ClassVar[Path | None] = None
    """CSS file with the rules that the body needs besides those of every card."""

    def to_text(self) -> str:
        """Returns the view as plain text; `visible` has replaced every character that acts on a terminal."""
        raise NotImplementedError

    def body(self) -> str:
        """Returns the HTML inside the card; text from outside has passed `workbench.html.escape`."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Returns the data behind the picture."""
        raise NotImplementedError

    def styles(self) -> str:
        """Returns the CSS that the body needs besides that of every card."""
        return "" if self.style is None else stylesheet(self.style)

    def to_html(self) -> str:
        return card(self.body(), styles=self.styles())

    def save(self, path: str | Path) -> None:
        """Writes a file of the kind its name ends in: `.html` a page, `.json` the data, anything else the text."""
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
class BarPart:
    """One part of a bar. `kind` is one of wait, prefill, decode, reused, lost, free."""

    label: str
    amount: float
    shown: str
    kind: str


def card(*blocks: str, styles: str = "") -> str:
    """Returns a card of HTML blocks. It brings its own rules; `styles` are further ones."""
    return f'<style>{stylesheet(CARD)}{styles}</style><div class="wb">{"".join(blocks)}</div>'


def soft(text: str) -> str:
    """Returns a line in a softer colour; "" for no text."""
    return f'<p class="wb-soft">{to_html(text)}</p>' if text else ""


def key(*parts: tuple[str, str]) -> str:
    """Returns the key of a picture: for each (kind, words) a swatch and what it means."""
    keys = (f'<span class="wb-key"><span class="wb-{kind}"></span>{to_html(words)}</span>' for kind, words in parts)
    return " ".join(keys)


def document(body: str, title: str) -> str:
    """Returns a page of its own, which opens from disk and loads nothing."""
    head = f'<meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{to_html(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Sequence[int] = (), whole: Sequence[int] = ()) -> str:
    """Returns an HTML table. Cells are plain text and are escaped here; `numeric` columns stand to the right, and the words of
    `whole` ones are not broken."""

    def row(cells: Sequence[str], tag: str) -> str:
        kinds = (' class="wb-num"' if i in numeric else ' class="wb-whole"' if i in whole else "" for i in range(len(cells)))
        return "<tr>" + "".join(f"<{tag}{k}>{to_html(c)}</{tag}>" for k, c in zip(kinds, cells, strict=True)) + "</tr>"

    top = f"<thead>{row(head, 'th')}</thead>" if head else ""
    return f"<table>{top}<tbody>{''.join(row(cells, 'td') for cells in rows)}</tbody></table>"


def bar(segments: Sequence[BarPart]) -> str:
    """Returns the parts of a whole as a bar, and its key: every part has a pattern, a name and a number."""
    # Flex shares that add up to less than 1 would leave a part of the bar empty.
    percent = 100 / (sum(s.amount for s in segments) or 1.0)
    parts, keys = "", ""
    for s in segments:
        if s.amount > 0:
            parts += f'<span class="wb-{s.kind}" style="flex:{s.amount * percent:.4g} 0 0"></span>'
        keys += f'<span class="wb-key"><span class="wb-{s.kind}"></span>{to_html(s.label)} <b>{to_html(s.shown)}</b></span> '
    return f'<div class="wb-bar">{parts}</div><div>{keys}</div>'


def lines(head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Sequence[int] = ()) -> str:
    """Returns the same table as aligned text."""
    cells = [[visible(cell) for cell in row] for row in ([head, *rows] if head else rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        parts = (c.rjust(w) if i in numeric else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        return "  ".join(parts).rstrip()

    return "\n".join(map(line, cells))


def plural(number: int, noun: str) -> str:
    """Writes 1234 and "token" as "1,234 tokens"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(num_bytes: float) -> str:
    """Writes 1536 as "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(num_bytes) < 1024:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} TiB"


def duration(seconds: float) -> str:
    """Writes 0.0042 as "4.2 ms", and 75 as "1 min 15 s"."""
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
    """Replaces lone surrogates, which JSON does not have, in all texts of a value."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {str(_encodable(key)): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, (list, tuple)) else value
