"""One message for all views of an engine: what a page draws while a cell is busy.

A message costs a kernel ten times what its content does, and a dashboard has eight views. So pages that listen get what is
new of all views at once, as JSON in a buffer; at the end of a cell every view's own traits say the same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import ipywidgets
import msgspec

from workbench.views.live.feed import Shown


class Ticker(ipywidgets.Widget):
    """A model without a view: pages listen to its messages, `{key of a view: {trait: value}}`."""

    def __init__(self, **traits: Any) -> None:
        self.lock = threading.RLock()
        """Held while something is told: who tells the same another way holds it too, so that the later word is the newer one."""
        super().__init__(**traits)

    def tell(self, views: Iterable[Shown]) -> None:
        with self.lock:
            news = {view.key: told for view in views if (told := view.take_news())}
            if news:
                self.send({}, [msgspec.json.encode(news)])
