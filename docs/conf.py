"""Sphinx: hand-written pages, the notebooks, and reference pages generated from the code (`generate.py`)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generate

import workbench

project = "workbench"
version = release = workbench.__version__
copyright = "the workbench authors, Apache-2.0"
html_title = "workbench"
html_theme = "furo"
extensions = ["myst_nb", "extensions.recordings"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# Notebooks are stored without outputs, so the pages need a run; WORKBENCH_DOCS_EXECUTE=off leaves the outputs out.
nb_execution_mode = os.environ.get("WORKBENCH_DOCS_EXECUTE", "cache")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
# A live view has its still picture beside it; without this a page would fetch widget code from elsewhere and draw both.
nb_ipywidgets_js = {}
# Cells with magics are not Python to the highlighter.
suppress_warnings = ["misc.highlighting_failure"]

generate.write_all(Path(__file__).parent / "_generated", Path(__file__).parents[1])
