"""`Served`: an engine of this process behind HTTP, on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Protocol

from workbench.api.handle import Handle
from workbench.api.questions import Questions
from workbench.config.http import HttpArgs
from workbench.errors import EngineDead, NotSupported, UnknownParameter
from workbench.server.draining import DrainingServer, configuration
from workbench.server.run import listen
from workbench.server.serving import Serving

NAMES = tuple(HttpArgs.__dataclass_fields__)


class HasEngine(Protocol):
    """An `Engine`, as far as a server needs it."""

    _handle: Handle

    @property
    def _questions(self) -> Questions: ...


class Served:
    """A running server. The engine, its cache and its weights are those of the notebook; the server only adds a door to them."""

    def __init__(self, engine: HasEngine, **settings: Any) -> None:
        """Listens, and returns when the server answers. `settings` are those of `HttpArgs`; the rest is as the engine has it.

        Raises InvalidRequest if the port is in use, UnknownParameter, EngineDead.
        """
        for name in settings:
            if name not in NAMES:
                raise UnknownParameter(name, NAMES, where="serve")
        if settings.get("otlp_traces_endpoint"):
            raise NotSupported("otlp_traces_endpoint: a notebook's server sends no traces", hint="`workbench serve` does")
        if not engine._handle.is_open:
            raise EngineDead("the engine was shut down", hint="load it again")
        self.serving = Serving(engine._handle, settings=settings, questions=engine._questions)
        args = self.serving.args
        self._listener = listen(args.host, args.port)
        host, port = self._listener.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._server: DrainingServer | None = None
        self._fault: BaseException | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workbench-server", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._fault is not None:
            raise self._fault

    @property
    def is_open(self) -> bool:
        """True until the server has ended."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Ends the server: running requests of its clients finish first, new ones are refused. The engine goes on."""
        if self._server is not None and self.is_open:
            self._server.drain()
        self._thread.join()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{'serving' if self.is_open else 'served'} {self.serving.name} at {self.url}>"

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._fault = error
        finally:
            self._listener.close()
            self._started.set()

    async def _serve(self) -> None:
        self._server = DrainingServer(configuration(self.serving), self.serving)
        asyncio.get_running_loop().call_soon(self._started.set)
        await self._server.serve(sockets=[self._listener])


def serve(engine: HasEngine, **settings: Any) -> Served:
    """Puts an engine of this process behind HTTP, without a second copy of its weights. Returns the running server.

    >>> served = workbench.serve(engine, port=30000)
    >>> served.stop()
    """
    return Served(engine, **settings)
