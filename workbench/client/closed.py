"""The client of an engine that was shut down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from workbench.client.forward import forwarding
from workbench.client.stream import Stream
from workbench.errors import SHUT_DOWN, EngineDead
from workbench.events import EventLog
from workbench.types import Request


class Closed:
    """An `EngineClient` that keeps the event log and refuses all else with `EngineDead`."""

    ended = SHUT_DOWN

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.engine = forwarding(_refuse)

    def submit(self, requests: Sequence[Request]) -> list[Stream]:
        raise EngineDead(self.ended)

    def abort(self, rid: str, message: str = "") -> None:
        """Does nothing: no request is open."""

    def close(self) -> None:
        """Does nothing: it is closed."""


def _refuse(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    raise EngineDead(SHUT_DOWN)
