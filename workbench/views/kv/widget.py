"""The live KV map."""

from __future__ import annotations

from workbench.views.live.base import ViewWidget, module, styles


class KvWidget(ViewWidget):
    _esm = module("kv")
    _css = styles("kv")
