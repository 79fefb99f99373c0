"""The live mask view: the same module as the strip's, drawn as columns."""

from __future__ import annotations

from typing import Any

from workbench.views.live.base import module, styles
from workbench.views.tokens.widget import OneRequest


class MaskWidget(OneRequest):
    _esm = module("tokens")
    _css = styles("tokens")

    def traits_of(self, state: dict[str, Any]) -> dict[str, Any]:
        return {"state": {**state, "columns": True}}
