"""The live template view."""

from __future__ import annotations

from workbench.views.live.base import ViewWidget, module, styles


class TemplateWidget(ViewWidget):
    _esm = module("template")
    _css = styles("template")
