"""Writes the generated pages and the notebooks where Sphinx reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from generate.command_line import command_line_page
from generate.environment import environment_page
from generate.errors import errors_page
from generate.events import events_page
from generate.http import endpoints_page
from generate.magics import magics_page
from generate.metrics import metrics_page
from generate.models import quantisation_page
from generate.modules import modules_page
from generate.programs import backends_page, language_page
from generate.python_api import python_page
from generate.requests import results_page, sampling_page
from generate.settings import configuration_page, moving_table
from generate.views import views_page

PAGES = {
    "backends": backends_page,
    "command-line": command_line_page,
    "configuration": configuration_page,
    "endpoints": endpoints_page,
    "environment": environment_page,
    "errors": errors_page,
    "events": events_page,
    "language": language_page,
    "magics": magics_page,
    "metrics": metrics_page,
    "python": python_page,
    "quantisation": quantisation_page,
    "results": results_page,
    "sampling": sampling_page,
    "views": views_page,
}
"""Name of a page of the reference -> the function that writes it."""
OPEN = "Open this notebook: {{download}}`{name} <../../notebooks/{name}>` · in a clone: `make lab`, then `notebooks/{name}`"


def write_all(docs: Path, root: Path) -> None:
    """Writes the reference into `docs/reference`, the notebooks into `docs/tutorials`, and the table of flags beside them.

    Files that did not change keep their time, and what is not written any more is removed.
    """
    pages = {docs / f"reference/{name}.md": write() for name, write in PAGES.items()}
    pages[docs / "reference/modules.md"] = modules_page(root / "workbench")
    pages[docs / "reference/flags.txt"] = "\n".join(moving_table()) + "\n"
    for book in sorted((root / "notebooks").glob("*.ipynb")):
        pages[docs / "tutorials" / book.name] = with_links(book)
    for folder in {path.parent for path in pages} | {docs / "tutorials"}:
        folder.mkdir(exist_ok=True)
        for old in set(folder.iterdir()) - set(pages):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def with_links(book: Path) -> str:
    """Returns a notebook with a line under its first cell: how to open it. Its code is the same."""
    notebook = json.loads(book.read_text(encoding="utf-8"))
    cell = {"id": "open", "cell_type": "markdown", "metadata": {}, "source": OPEN.format(name=book.name)}
    notebook["cells"].insert(1, cell)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
