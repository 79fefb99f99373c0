"""Views: what an engine does, as text, HTML and live widgets. Importing this needs neither torch nor IPython.

Each live view is a folder with the same roles:
  fold.py      events of the log -> state; no clock, no thread, no widget
  picture.py   state -> still picture: text, HTML, data
  layout.js    state -> numbers: a pure function, tested in Node
  view.js      numbers -> elements of the page
  view.css     rules of the still picture and of the live view
Further roles, in views that need them: state.py (values that the fold keeps), drawn.py (their drawn part as JSON), words.py
(sentences) and widget.py (traits and messages of its own). `views/live` moves the views: it reads the log and talks with pages.
"""

from __future__ import annotations

from workbench.html.parts import View
from workbench.views.completion import Completion, Timings
from workbench.views.memory import Memory
from workbench.views.program.picture import ProgramView
from workbench.views.status import EngineStatus, Loaded, Loading, Process, Processes, Status
from workbench.why.request.spans import LifeSpan

__all__ = [
    "Completion",
    "EngineStatus",
    "Loaded",
    "Loading",
    "Memory",
    "Process",
    "Processes",
    "ProgramView",
    "LifeSpan",
    "Status",
    "Timings",
    "View",
]
