"""Marks that say how an output token came about, and need no hue for it."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.html.escape import to_html
from workbench.views.tokens.state import SAYS, Kind

TAGS: dict[Kind, tuple[str, str]] = {
    "free": ("span", ""), "constrained": ("span", "wb-con"), "forced": ("i", ""), "overruled": ("b", "wb-over"),
}  # fmt: skip
"""Element and class of each kind."""


def marked_token(text: str, kind: Kind, note: str = "", extra: str = "") -> str:
    """Returns one token as HTML, marked by its kind. `note` is its tip; `extra` is a further class."""
    tag, name = TAGS[kind]
    names = " ".join(filter(None, (name, extra)))
    title = f' title="{to_html(note)}"' if note else ""
    named = f' class="{names}"' if names else ""
    return f"<{tag}{named}{title}>{to_html(text)}</{tag}>"


def legend(kinds: Iterable[Kind]) -> str:
    """Returns the meaning of the marks that occur; "" where all tokens are free."""
    found = list(kinds)
    counts = {kind: found.count(kind) for kind in SAYS}
    if counts["free"] == len(found):
        return ""
    keys = [f"<span>{marked_token(kind, kind)}: {SAYS[kind]} ({num:,})</span>" for kind, num in counts.items() if num]
    return f'<p class="wb-soft wb-kinds">{" ".join(keys)}</p>'
