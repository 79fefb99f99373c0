"""`Source`: the engine of a live view: its log, its constant facts, and the calls on it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from workbench.client.detail import DetailSwitch
from workbench.client.protocol import EngineCalls, EngineClient
from workbench.errors import EngineDead
from workbench.events import EventLog
from workbench.views.fold import Facts


class Source:
    """One per log. `client` returns the engine's present client, so that a view keeps no engine alive."""

    def __init__(
        self, log: EventLog, facts: Facts, client: Callable[[], EngineClient], detail: DetailSwitch | None = None
    ) -> None:
        self.key = uuid.uuid4().hex
        """An id that no other source of any kernel has: selections are linked by it."""
        self.log = log
        self.facts = facts
        self.feed: Any = None
        """The `Feed` that moves its views, once there is one."""
        self._client = client
        self._detail = detail

    def need_detail(self, holder: str, needed: bool) -> None:
        """Keeps token detail on while `holder` needs it. Does nothing once the engine has ended."""
        if self._detail is not None:
            with suppress(EngineDead):
                self._detail.set(holder, needed)

    @property
    def engine(self) -> EngineCalls:
        return self._client().engine

    def abort(self, rid: str) -> None:
        self._client().abort(rid)

    @property
    def ended(self) -> str:
        """The reason why the engine has ended; empty while it lives."""
        return self._client().ended
