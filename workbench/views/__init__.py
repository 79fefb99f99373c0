"""Static views: values in, text and HTML out. No widget, no torch, no IPython."""

from __future__ import annotations

from workbench.html.parts import View
from workbench.views.completion import Completion, Timings
from workbench.views.memory import Memory
from workbench.views.program.picture import ProgramView
from workbench.views.status import EngineStatus, Loaded, Loading, Process, Processes, Status
from workbench.why.request.spans import Span

__all__ = [
    "Completion",
    "EngineStatus",
    "Loaded",
    "Loading",
    "Memory",
    "Process",
    "Processes",
    "ProgramView",
    "Span",
    "Status",
    "Timings",
    "View",
]
