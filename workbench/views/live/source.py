"""What a live view knows of an engine: its log, its constant facts, and the few things one may ask of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from workbench.client import Client, DetailSwitch
from workbench.errors import EngineDead
from workbench.events import EventLog
from workbench.views.fold import Facts


class Source:
    """One per log. `client` gives the engine's client of the moment, so that a view keeps no engine alive."""

    def __init__(self, log: EventLog, facts: Facts, client: Callable[[], Client], detail: DetailSwitch | None = None) -> None:
        self.key = uuid.uuid4().hex
        """No other source of any kernel has it: selections are linked by it."""
        self.log = log
        self.facts = facts
        self.feed: Any = None
        """The `Feed` that moves its views, once there is one."""
        self._client = client
        self._detail = detail

    def need_detail(self, who: str, needed: bool) -> None:
        """Token detail is on while anybody needs it; of an engine that ended there is none to come."""
        if self._detail is not None:
            with suppress(EngineDead):
                self._detail.set(who, needed)

    def call(self, name: str, *args: Any) -> Any:
        return self._client().call(name, *args)

    def abort(self, rid: str) -> None:
        self._client().abort(rid)

    @property
    def ended(self) -> str:
        """Why the engine answers no more; empty while it lives."""
        return self._client().ended
