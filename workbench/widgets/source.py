"""What a live view knows of an engine: its log, its constant facts, and the few things one may ask of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.events import EventLog
from workbench.views.fold import Facts


@dataclass(eq=False)
class Source:
    """One per log. The callables are those of a `Client`, so that a view holds no engine."""

    key: str
    """No other source of any kernel has it: selections are linked by it."""
    log: EventLog
    facts: Facts
    call: Callable[..., Any]
    abort: Callable[[str], None]
    ended: Callable[[], str]
    """Why the engine answers no more; empty while it lives."""
    feed: Any = None
    """The `Feed` that moves its views, once there is one."""
