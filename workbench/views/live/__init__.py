"""Live views: which there are, and how one is opened. Importing this needs neither anywidget nor IPython."""

from __future__ import annotations

from workbench.views.live.kinds import VIEWS, ViewKind
from workbench.views.live.opening import HELP, open_view
from workbench.views.live.source import Source

__all__ = ["HELP", "VIEWS", "Source", "ViewKind", "open_view"]
