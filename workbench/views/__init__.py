"""Static views: values in, text and HTML out. No widget, no torch, no IPython."""

from __future__ import annotations

from workbench.views.completion import Completion, Timings
from workbench.views.explanation import Span
from workbench.views.memory import Memory
from workbench.views.parts import View
from workbench.views.program import ProgramView
from workbench.views.status import EngineStatus, Loaded, Loading, Process, Processes, Status

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
