"""The live program view."""

from __future__ import annotations

from workbench.views.live.base import ViewWidget, module, styles


class ProgramWidget(ViewWidget):
    _esm = module("program")
    _css = styles("program")
