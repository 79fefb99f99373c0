"""The KV pool as rows of pages: every stretch of one owner is a mark with a pattern, and a label where there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.html.escape import to_html
from workbench.html.parts import Segment, bar, plural, soft, table

if TYPE_CHECKING:
    from workbench.views.kv.fold import KVPicture, Run

SEES = "The memory for context, page by page in rows, each row's first page before it: who owns which."
NUM_ROWS = 16
MIN_ROW = 32
LABEL_SHARE = 0.09
"""A stretch at least so wide, as a part of its row, is labelled with its name."""
LETTER_SHARE = 1 / 80
"""And one at least so wide with the request's letter."""
CLASSES = {"free": "wb-free", "tree": "wb-reused", "owned": "wb-decode"}
NAMES = {"owned": "running requests", "tree": "kept in the tree", "free": "free"}
KEY_KINDS = {"owned": "decode", "tree": "reused", "free": "free"}
MAX_OWNERS = 100
MAX_READERS = 6


def kv_html(view: KVPicture) -> str:
    counts = view.counts
    key = bar([Segment(NAMES[kind], counts[kind], f"{counts[kind]:,}", KEY_KINDS[kind]) for kind in ("owned", "tree", "free")])
    row_len = row_length(view.shown)
    rows = "".join(
        f'<div class="wb-pages-row"><span class="wb-num">{start:,}</span><div class="wb-pages">{marks}</div></div>'
        for start, marks in ((start, _row(view, start, row_len)) for start in range(0, view.shown, row_len))
    )
    rest = view.num_pages - view.shown
    never = f'<p class="wb-soft">{plural(rest, "page")} behind these have never been used</p>' if rest > 0 else ""
    return f"<p><b>{to_html(view.title)}</b></p>{soft(SEES)}{key}{rows}{never}{soft(view.empty)}{_owners(view)}"


def row_length(shown: int) -> int:
    """Pages in a row: a power of two, so that a row number is easy to tell, and at most `NUM_ROWS` rows."""
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
    return marks + (f'<span style="flex:{missing} 1 0"></span>' if missing > 0 else "")


def _mark(view: KVPicture, run: Run, first: int, last: int, row_len: int) -> str:
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


def label(run: Run) -> str:
    """#17 is a node of the tree, anything else a request."""
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
    return (label_of_node(owner), "a node of the tree", *counts, view.makers.get(owner, ""), names or "nobody now")
