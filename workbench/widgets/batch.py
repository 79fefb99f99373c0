"""The live batch timeline."""

from __future__ import annotations

from workbench.widgets.base import ViewWidget, module, styles


class BatchWidget(ViewWidget):
    _esm = module("batch")
    _css = styles("batch")
