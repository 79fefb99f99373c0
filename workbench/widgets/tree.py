"""The live radix tree."""

from __future__ import annotations

from workbench.widgets.base import ViewWidget, module, styles


class TreeWidget(ViewWidget):
    _esm = module("tree")
    _css = styles("tree")
