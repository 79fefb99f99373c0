"""The still picture under a live view in a notebook's output, for pages without a kernel."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.events import EventLog
from workbench.html.parts import View
from workbench.html.styles import stylesheet

RECORDS = "WORKBENCH_RECORD_VIEWS"
"""Variable of the environment: if it is set, the pictures under live views hold the run too, for pages that play it."""
STYLE = Path(__file__).with_name("still.css")


def with_picture(bundle: Any, picture: View) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns a widget's MIME bundle with the picture as text and HTML added."""
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
    return {**data, "text/plain": picture.to_text(), "text/html": picture.to_html()}, metadata


class Still:
    """The still picture of one live view. The live view hides it while it is drawn.

    The picture is replaced when a cell ends, so a saved notebook holds the last state.
    """

    def __init__(self, log: EventLog, picture: Callable[[], View], recording: Callable[[], View]) -> None:
        self.key = f"wb-{uuid.uuid4().hex}"
        """Class of the picture's element."""
        self._log = log
        self._picture = recording if os.environ.get(RECORDS) else picture
        self._handle: Any = None
        self._number = -1

    def display(self, bundle: Any) -> None:
        """Writes two outputs: the live view, and the still picture under it."""
        from IPython.display import display

        data, metadata = bundle
        data = {kind: value for kind, value in data.items() if kind != "text/html"}
        display(data | {"text/plain": "a live view; its last state:"}, metadata=metadata, raw=True)
        self._number = self._log.num_added
        self._handle = display(self._outputs(), raw=True, display_id=True)

    def renew(self) -> None:
        """Replaces the picture where something happened since it was made."""
        if self._handle is not None and self._number != self._log.num_added:
            self._number = self._log.num_added
            self._handle.update(self._outputs(), raw=True)

    def _outputs(self) -> dict[str, str]:
        picture = self._picture()
        html = f'<style>{stylesheet(STYLE)}</style><div class="wb-still {self.key}">{picture.to_html()}</div>'
        return {"text/plain": picture.to_text(), "text/html": html}
