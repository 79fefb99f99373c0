"""Sphinx: hand-written pages, the notebooks, and reference pages generated from the code (`generate/`)."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))

from generate.runs import package_hash  # noqa: E402
from generate.write import write_all  # noqa: E402

import workbench  # noqa: E402

project = "workbench"
version = release = workbench.__version__
copyright = "the workbench authors, Apache-2.0"
html_title = f"workbench {version}"
html_theme = "furo"
html_static_path = ["_static"]
html_favicon = "_static/icon.svg"
pygments_style, pygments_dark_style = "default", "github-dark"
html_css_files = ["site.css"]
html_js_files = ["copy.js"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
extensions = ["myst_nb", "extensions.recordings", "extensions.streams"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build", "generate", "extensions", "examples", "deploy/monitoring"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
# Quotes and dashes stay as they are written: many are parts of names, such as --model-path.
smartquotes = False
# Notebooks are stored without outputs, so the pages need a run; WORKBENCH_DOCS_EXECUTE=off leaves the outputs out.
nb_execution_mode = os.environ.get("WORKBENCH_DOCS_EXECUTE", "cache")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
# A run is kept for a notebook's code and the package's source: change either, and it runs again.
nb_execution_cache_path = str(DOCS / "_build" / "runs" / package_hash(ROOT))
nb_merge_streams = True
# A live view has its still picture beside it; without this a page would fetch widget code from elsewhere and draw both.
nb_ipywidgets_js = {}
# Cells with magics are not Python to the highlighter.
suppress_warnings = ["misc.highlighting_failure"]

for old in (DOCS / "_build" / "runs").glob("*"):
    if str(old) != nb_execution_cache_path:
        shutil.rmtree(old)
write_all(DOCS, ROOT)
