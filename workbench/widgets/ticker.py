"""One message for all views of an engine: what a page draws while a cell is busy.

A message costs a kernel ten times what its content does, and a dashboard has eight views. So pages that listen get what is
new of all views at once, as JSON in a buffer; at the end of a cell every view's own traits say the same.
"""

from __future__ import annotations

from typing import Any

import ipywidgets
import msgspec


class Ticker(ipywidgets.Widget):
    """A model without a view: pages listen to its messages, `{key of a view: {trait: value}}`."""

    def tell(self, news: dict[str, dict[str, Any]]) -> None:
        self.send({}, [msgspec.json.encode(news)])
