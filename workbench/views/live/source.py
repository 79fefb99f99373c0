"""The part of an engine that its views use: its log, its constant facts, and a few questions."""

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
    """One engine, as its views use it. `client` returns the engine's client of the moment, so no view keeps an engine alive."""

    def __init__(
        self, log: EventLog, facts: Facts, client: Callable[[], EngineClient], detail: DetailSwitch | None = None
    ) -> None:
        self.key = uuid.uuid4().hex
        """Key of the engine's selection in pages: no other source of any kernel has it."""
        self.log = log
        self.facts = facts
        self.feed: Any = None
        """The `Feed` that moves its views; None until there is one."""
        self._client = client
        self._detail = detail

    def need_detail(self, user: str, needed: bool) -> None:
        """Keeps token detail on while `user` needs it. Does nothing once the engine has ended."""
        if self._detail is not None:
            with suppress(EngineDead):
                self._detail.set(user, needed)

    @property
    def engine(self) -> EngineCalls:
        """The calls of the present engine, which raise `EngineDead` once it has ended."""
        return self._client().engine

    def abort(self, rid: str) -> None:
        """Aborts a request."""
        self._client().abort(rid)

    @property
    def ended(self) -> str:
        """The reason why the engine has ended; empty while it lives."""
        return self._client().ended
