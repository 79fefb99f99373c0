"""The part of an engine that its views use: its log, its constant facts, and a few questions."""

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
    """One engine, as its views use it. `client` returns the engine's client of the moment, so no view keeps an engine alive."""

    def __init__(self, log: EventLog, facts: Facts, client: Callable[[], Client], detail: DetailSwitch | None = None) -> None:
        self.key = uuid.uuid4().hex
        """Key of the engine's selection in pages: no other source of any kernel has it."""
        self.log = log
        self.facts = facts
        self.feed: Any = None
        """The `Feed` that moves its views; None until there is one."""
        self._client = client
        self._detail = detail

    def need_detail(self, user: str, needed: bool) -> None:
        """Switches token detail on for one user or off for it; it is on while any user needs it."""
        if self._detail is not None:
            with suppress(EngineDead):
                self._detail.set(user, needed)

    def call(self, name: str, *args: Any) -> Any:
        """Returns the engine's answer to a question of this name. Raises what the engine raises."""
        return self._client().call(name, *args)

    def abort(self, rid: str) -> None:
        """Aborts a request."""
        self._client().abort(rid)

    @property
    def ended(self) -> str:
        """Why the engine answers no more; empty while it lives."""
        return self._client().ended
