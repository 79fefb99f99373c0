"""One message with the news of all views of an engine, for pages to draw while a cell is busy.

A message costs a kernel ten times what its content does, and a dashboard has eight views. So pages that listen get the news of
all views at once, as JSON in a buffer. At the end of a cell every view's own traits are set to the same values.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import ipywidgets
import msgspec

from workbench.views.live.feed import Shown


class Ticker(ipywidgets.Widget):
    """A model without a view. Pages listen to its messages, `{key of a view: {trait: value}}`."""

    def __init__(self, **traits: Any) -> None:
        self.lock = threading.RLock()
        """Lock to hold while sending an update by any route, so that updates arrive in order."""
        super().__init__(**traits)

    def send_news(self, views: Iterable[Shown]) -> None:
        """Sends the news of these views, where there are any."""
        with self.lock:
            news = {view.key: traits for view in views if (traits := view.take_news())}
            if news:
                self.send({}, [msgspec.json.encode(news)])
