"""Opens a recording of a view by its name."""

from __future__ import annotations

from typing import Any

from workbench.errors import InvalidRequest
from workbench.views.live.kinds import VIEWS
from workbench.views.live.opening import DASHBOARD, check_name, open_reader
from workbench.views.live.source import Source
from workbench.views.recorded.recording import Recording, record


def open_recording(source: Source, name: str, *, moments: int, **options: Any) -> Recording:
    """Returns what a view has shown since the event log began, at up to `moments` moments. Raises as `open_view` does."""
    check_name(name)
    if moments < 2:
        raise InvalidRequest("moments", moments, "2 or more")
    if name == DASHBOARD:
        return record({name: open_reader(source, name, {}) for name, kind in VIEWS.items() if kind.in_dashboard}, most=moments)
    return record({name: open_reader(source, name, options)}, most=moments)
