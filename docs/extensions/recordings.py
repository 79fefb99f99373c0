"""Sphinx extension: live views in the pages' notebooks, played from the recordings that their cells leave in the outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from workbench.html.styles import stylesheet
from workbench.views.live.kinds import VIEWS
from workbench.views.live.still import RECORDS
from workbench.views.recorded.bundle import scripts, styles

SCRIPT, STYLES, COLOURS = "recordings.js", "recordings.css", "cards.css"
HERE = Path(__file__).parent


def setup(app: Any) -> dict[str, Any]:
    """Has the kernels of the build record their views, and adds what plays them to the pages that have some."""
    os.environ[RECORDS] = "1"
    app.connect("html-page-context", add_files)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_files(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Adds the scripts to a page with recordings, and the page's colours to one with pictures."""
    body = context.get("body") or ""
    if 'class="wb' in body:
        app.add_css_file(COLOURS, priority=900)
    if 'class="wb-recording"' in body:
        app.add_css_file(STYLES, priority=900)
        app.add_js_file(SCRIPT, type="module")


def write_files(app: Any, error: Exception | None) -> None:
    """Writes the scripts and style sheets once for the whole site."""
    if error is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir) / "_static"
    (folder / SCRIPT).write_text(scripts(tuple(VIEWS)), encoding="utf-8")
    (folder / STYLES).write_text(styles(tuple(VIEWS)), encoding="utf-8")
    (folder / COLOURS).write_text(stylesheet(HERE / COLOURS), encoding="utf-8")
