"""The live batch timeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.views.batch.fold import BatchFold
from workbench.views.live.widget import ViewWidget


class BatchWidget(ViewWidget[BatchFold]):
    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answers the usual messages, and {"do": "skip", "num": requests}, which leaves out that many of the latest."""
        if asked.get("do") != "skip":
            return super().answer(asked)
        with self.reader.lock:
            self.fold.skip = max(int(asked["num"]), 0)
            self.show(self.state_now())
        self.settle()
        return {}
