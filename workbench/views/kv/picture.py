"""The KV pool as rows of pages: every run of one owner is a mark with a pattern, and a label where there is room."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.html.escape import to_html, visible
from workbench.html.parts import BarPart, View, bar, lines, plural, soft, table
from workbench.views.kv.state import Kind, PageRun, title_of

SEES = "The memory for context, page by page in rows, each row's first page before it: who owns which."
NUM_ROWS = 16
MIN_ROW = 32
LABEL_SHARE = 0.09
"""Least width of a run that is labelled with its name, as a share of its row."""
LETTER_SHARE = 1 / 80
"""Least width of a run that is labelled with the request's letter."""
CLASSES = {"free": "wb-free", "tree": "wb-reused", "owned": "wb-decode"}
NAMES = {"owned": "running requests", "tree": "kept in the tree", "free": "free"}
KEY_KINDS = {"owned": "decode", "tree": "reused", "free": "free"}
MAX_OWNERS = 100
MAX_READERS = 6


@dataclass(frozen=True, repr=False)
class KVPicture(View):
    """The pool at one moment. `runs` cover the pages from 0 to `shown`; behind that all are free."""

    style = Path(__file__).with_name("view.css")
    num_pages: int
    page_size: int
    counts: dict[str, int]
    shown: int
    runs: tuple[PageRun, ...]
    makers: dict[str, str] = field(default_factory=dict)
    """Request that computed each node."""
    letters: dict[str, str] = field(default_factory=dict)
    """Letter on the pages of each running request."""
    readers: dict[str, list[str]] = field(default_factory=dict)
    """Running requests that read each node."""
    kept: str = ""
    """Type of the K/V, and the size of one token's; "" where they are unknown."""
    empty: str = ""
    """While no page was ever used: that, and the code that changes it, in one line."""

    def to_text(self) -> str:
        owners = [(kind, owner, f"{pages:,}", f"{pages * self.page_size:,}") for (kind, owner), pages in self.by_owner()]
        rest = [("free", "", f"{self.counts['free']:,}", f"{self.counts['free'] * self.page_size:,}")]
        head = ("state", "owner", "pages", "tokens")
        return visible(self.title) + "\n" + lines(head, [*owners, *rest], numeric=(2, 3))

    def body(self) -> str:
        counts = self.counts
        parts = [BarPart(NAMES[kind], counts[kind], f"{counts[kind]:,}", KEY_KINDS[kind]) for kind in ("owned", "tree", "free")]
        row_len = row_length(self.shown)
        rows = "".join(_row(self, start, row_len) for start in range(0, self.shown, row_len))
        rest = self.num_pages - self.shown
        unused = soft(f"{plural(rest, 'page')} behind these have never been used") if rest > 0 else ""
        head = f"<p><b>{to_html(self.title)}</b></p>{soft(SEES)}"
        return f"{head}{bar(parts)}{rows}{unused}{soft(self.empty)}{_owners(self)}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "num_pages": self.num_pages, "page_size": self.page_size, "counts": self.counts,
            "runs": [[run.start, run.length, run.kind, run.owner] for run in self.runs], "shown": self.shown,
        }  # fmt: skip

    @property
    def title(self) -> str:
        return title_of(self.num_pages, self.page_size, self.kept)

    def by_owner(self) -> list[tuple[tuple[Kind, str], int]]:
        """Returns ((kind, owner), pages): requests before the tree, the largest first, without the free pages."""
        sums: dict[tuple[Kind, str], int] = {}
        for run in self.runs:
            if run.kind != "free":
                key = (run.kind, run.owner)
                sums[key] = sums.get(key, 0) + run.length
        return sorted(sums.items(), key=lambda item: (item[0][0], -item[1]))


def row_length(shown: int) -> int:
    """Returns the pages in a row: a power of two, which makes row numbers round, for at most `NUM_ROWS` rows."""
    length = MIN_ROW
    while length * NUM_ROWS < shown:
        length *= 2
    return length


def _row(view: KVPicture, start: int, row_len: int) -> str:
    stop, marks = start + row_len, ""
    for run in view.runs:
        first, last = max(run.start, start), min(run.start + run.length, stop)
        if first < last:
            marks += _mark(view, run, first, last, row_len)
    missing = stop - max(view.shown, start)
    marks += f'<span style="flex:{missing} 1 0"></span>' if missing > 0 else ""
    return f'<div class="wb-pages-row"><span class="wb-num">{start:,}</span><div class="wb-pages">{marks}</div></div>'


def _mark(view: KVPicture, run: PageRun, first: int, last: int, row_len: int) -> str:
    name = label(run)
    share, text = (last - first) / row_len, ""
    if name and share >= LABEL_SHARE:
        text = f"<b>{to_html(name)}</b>"
    elif run.kind == "owned" and share >= LETTER_SHARE:
        text = f"<small>{view.letters.get(run.owner, '')}</small>"
    pages = f"page {run.start}" if run.length == 1 else f"pages {run.start} to {run.start + run.length - 1}"
    made = f", computed by {view.makers[run.owner]}" if run.kind == "tree" and run.owner in view.makers else ""
    title = to_html(f"{pages}: {name or run.kind}{made}")
    return f'<span class="{CLASSES[run.kind]}" style="flex:{last - first} 1 0" title="{title}">{text}</span>'


def label(run: PageRun) -> str:
    """Returns the name of a run's owner: #17 for a node of the tree, a request by its id."""
    if run.kind == "free":
        return ""
    return (label_of_node(run.owner) if run.kind == "tree" else run.owner) if run.owner else "several"


def label_of_node(node: str) -> str:
    return f"#{node}"


def _owners(view: KVPicture) -> str:
    rows = [_owner(view, kind, owner, pages) for (kind, owner), pages in view.by_owner()]
    more = len(rows) - MAX_OWNERS
    note = soft(f"and {more:,} more: picture.by_owner() lists all") if more > 0 else ""
    head = ("mark", "owner", "pages", "tokens", "computed by", "read by")
    return f'<div class="wb-journal">{table(head, rows[:MAX_OWNERS], numeric=(2, 3))}</div>{note}' if rows else ""


def _owner(view: KVPicture, kind: str, owner: str, pages: int) -> tuple[str, ...]:
    counts = (f"{pages:,}", f"{pages * view.page_size:,}")
    if not owner:
        return ("", f"{NAMES[kind]}, several", *counts, "", "")
    if kind == "owned":
        return (view.letters.get(owner, ""), owner, *counts, owner, owner)
    readers = view.readers.get(owner, [])
    names = ", ".join(readers[:MAX_READERS]) + (f" and {len(readers) - MAX_READERS:,} more" if len(readers) > MAX_READERS else "")
    return (label_of_node(owner), "a node of the tree", *counts, view.makers.get(owner, ""), names or "no request now")
