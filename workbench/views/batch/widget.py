"""The live batch timeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.views.batch.fold import BatchFold
from workbench.views.live.base import ViewWidget, module, styles


class BatchWidget(ViewWidget):
    _esm = module("batch")
    _css = styles("batch")

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Beside the usual: {"do": "skip", "num": requests} shows those before the latest so many."""
        if asked.get("do") != "skip":
            return super().answer(asked)
        with self.reader.lock:
            assert isinstance(self.fold, BatchFold)
            self.fold.skip = max(int(asked["num"]), 0)
            self.show(self.state_now())
        self.settle()
        return {}
