"""`Recording`: a run as views showed it, in a page that needs neither Python nor a network."""

from __future__ import annotations

import base64
import html
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from workbench.html.parts import View, document, duration
from workbench.views.dashboard.picture import COLUMNS, Pictures
from workbench.views.live.reader import Reader
from workbench.views.live.still import RECORDS
from workbench.views.recorded.bundle import scripts, styles
from workbench.views.recorded.replay import Moment, moments_of, replay

MOST_MOMENTS, LEAST_MOMENTS = 120, 12
MAX_BYTES = 96 * 1024
"""Compressed size at which a recording has fewer moments instead."""
LOST = "the event log has lost what was before this\nevent_log_size=N keeps more"


@dataclass(frozen=True, repr=False)
class Recording(View):
    """A still picture of the last state, and what a page plays in its place: a slider over the moments of the run.

    `save("run.html")` writes a page that opens from disk. Where scripts are off, it shows the still picture.
    """

    still: View
    names: tuple[str, ...]
    """Views that it shows."""
    moments: tuple[Moment, ...]
    packed: bytes
    """JSON of all that the page draws, deflated."""

    def to_text(self) -> str:
        return self.still.to_text()

    def body(self) -> str:
        return self.still.body()

    def styles(self) -> str:
        return self.still.styles()

    def to_dict(self) -> dict[str, Any]:
        """Returns the data behind the last picture."""
        return self.still.to_dict()

    def to_html(self) -> str:
        """Returns the still picture, with the run for a page that has the scripts of `bundle.py`."""
        text = base64.b64encode(self.packed).decode()
        packed = f'<script type="application/x-workbench" class="wb-packed">{text}</script>'
        return f'<div class="wb-recording">{packed}{self.still.to_html()}</div>'

    def page(self) -> str:
        """Returns a whole page, with its scripts and style sheets."""
        body = f"<style>{styles(self.names)}</style>{self.to_html()}"
        return document(f'{body}<script type="module">{scripts(self.names)}</script>', f"workbench: {', '.join(self.names)}")

    def save(self, path: str | Path) -> None:
        """Writes a file of the kind its name ends in: `.html` the page, `.json` the last picture's data, else its text."""
        path = Path(path)
        if path.suffix.lower() == ".html":
            path.write_text(self.page(), encoding="utf-8", errors="replace")
        else:
            super().save(path)

    def _repr_html_(self) -> str:
        """Returns a frame with the whole page, so that the frontend's own page runs no scripts; where the environment sets
        `RECORDS` there are scripts in the page around it, and this is `to_html`."""
        if os.environ.get(RECORDS):
            return self.to_html()
        frame = f'<iframe srcdoc="{html.escape(self.page())}" sandbox="allow-scripts" title="{", ".join(self.names)}"'
        return f'{frame} style="width:100%;height:44em;resize:vertical;border:0"></iframe>'


def record(readers: Mapping[str, Reader[Any]], *, most: int = MOST_MOMENTS, max_bytes: int = MAX_BYTES) -> Recording:
    """Returns a recording of one engine's log as these views show it: up to `most` moments, which are the ends of steps.

    A recording that is larger than `max_bytes` is made again with fewer moments, down to `LEAST_MOMENTS`.
    """
    source = next(iter(readers.values())).source
    first, events = source.log.read()
    while True:
        moments = moments_of(events, most)
        fresh = {name: Reader(source, reader.make) for name, reader in readers.items()}
        views = [{"name": name, **replay(reader, events, moments)} for name, reader in fresh.items()]
        for view in views:
            view["note"] = view["note"] or (LOST if first else "")
        said = [_words(moment) for moment in moments]
        whole = {"engine": source.key, "moments": said, "views": views, "columns": COLUMNS}
        packed = zlib.compress(msgspec.json.encode(whole), 9)
        if len(packed) <= max_bytes or len(moments) <= LEAST_MOMENTS:
            break
        most = max(len(moments) * max_bytes * 9 // (len(packed) * 10), LEAST_MOMENTS)
    pictures = tuple(reader.fold.picture() for reader in fresh.values())
    still = pictures[0] if len(pictures) == 1 else Pictures(pictures)
    return Recording(still, tuple(fresh), tuple(moments), packed)


def _words(moment: Moment) -> str:
    return f"step {moment.step:,}, {duration(moment.seconds)}"
