"""`DetailSwitch`: token detail of one engine, on while anything needs it."""

from __future__ import annotations

import threading
import weakref

from workbench.client.protocol import EngineClient
from workbench.errors import SHUT_DOWN, EngineDead, NotSupported


class DetailSwitch:
    """Counts the holders of token detail, each known by a key. Any thread may use it."""

    def __init__(self, client: EngineClient) -> None:
        """Refers to the client weakly: a view that is kept does not keep the model of an engine that was shut down."""
        self._client = weakref.ref(client)
        self._holders: set[object] = set()
        self._lock = threading.Lock()

    @property
    def is_on(self) -> bool:
        return bool(self._holders)

    def is_held(self, holder: object) -> bool:
        return holder in self._holders

    def set(self, holder: object, on: bool) -> None:
        """Adds or removes a holder. Raises `EngineDead` if one is added and the engine has ended."""
        with self._lock:
            was_on = self.is_on
            (self._holders.add if on else self._holders.discard)(holder)
            if self.is_on != was_on:
                self._switch(holder, on)

    def _switch(self, holder: object, on: bool) -> None:
        client = self._client()
        try:
            if client is None:
                raise EngineDead(SHUT_DOWN)
            client.engine.token_detail(on)
        except BaseException as error:  # an interrupt too: nothing lets go of what is not held
            self._holders.discard(holder)
            if on or not isinstance(error, (EngineDead, NotSupported)):
                raise
