"""The live template view."""

from __future__ import annotations

from workbench.widgets.base import ViewWidget, module, styles


class TemplateWidget(ViewWidget):
    _esm = module("template")
    _css = styles("template")
