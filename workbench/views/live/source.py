"""The part of an engine that its views use: its log, its constant facts, and a few questions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from workbench.client.detail import DetailSwitch
from workbench.client.protocol import EngineCalls, EngineClient
from workbench.errors import EngineDead, NotSupported
from workbench.events import EventLog
from workbench.views.advice import Advice
from workbench.views.fold import Facts


class Source:
    """One engine, as its views use it. `client` returns the engine's client of the moment, so no view keeps an engine alive."""

    def __init__(
        self, log: EventLog, facts: Facts, client: Callable[[], EngineClient], detail: DetailSwitch | None = None,
        epoch: float | None = None,
    ) -> None:  # fmt: skip
        self.key = uuid.uuid4().hex
        """Key of the engine's selection in pages: no other source of any kernel has it."""
        self.log = log
        self.facts = facts
        self.feed: Any = None
        """The `Feed` that moves its views; None until there is one."""
        self.epoch = time.time() - time.monotonic() if epoch is None else epoch
        """Start of the engine's clock in seconds since 1970: pages need it to say how long ago something was."""
        self._client = client
        self._detail = detail

    def advised(self, advice: Advice) -> Source:
        """Returns a source of the same engine for readers at another place."""
        return Source(self.log, replace(self.facts, advice=advice), self._client, self._detail, self.epoch)

    def need_detail(self, user: str, needed: bool) -> None:
        """Keeps token detail on while `user` needs it. Does nothing if the engine has ended or takes no changes."""
        if self._detail is not None:
            with suppress(EngineDead, NotSupported):
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
