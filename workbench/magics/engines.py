"""`Engines`: the engines of one kernel by name, their servers, and what is to say about their state."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from workbench.config import DEFAULT_MODEL, ServerArgs, ServerOptions
from workbench.errors import EngineDead, NotSupported, WorkbenchError
from workbench.kernels.cores import busy
from workbench.magics.facts import engine_status, processes
from workbench.signature import takes
from workbench.views import EngineStatus, Loaded, Memory, Processes, Status
from workbench.views.advice import ATTACHED_BY_MAGIC, IN_MAGICS

if TYPE_CHECKING:  # these bring torch
    from workbench.api.attach import Attached
    from workbench.api.engine import Engine
    from workbench.server.thread import Served

OnProgress = Callable[[str, int, int], None]
"""(work, done so far, total); the total is 0 if it is not known."""


class NoEngine(WorkbenchError):
    """No engine runs under the name, or none at all."""


class NothingYet(WorkbenchError):
    """The request or conversation of a question does not exist yet."""


@dataclass(frozen=True, slots=True)
class Running:
    """An engine and the call that opened it."""

    engine: Any
    """An `Engine`, or an `Attached` one."""
    args: ServerArgs
    process: bool
    since: float
    """Value of `time.monotonic()` when the engine was ready."""


def open_engine(args: ServerArgs, *, process: bool, progress: OnProgress | None) -> Engine:
    """Opens an engine and returns it. Imports torch."""
    from workbench.api.engine import Engine

    return Engine(process=process, progress=progress, **args.to_dict())


def find_model(args: ServerArgs, progress: OnProgress | None) -> None:
    """Downloads the model if it is not local. Raises ModelNotFound, ModelCorrupt or NotSupported if it cannot run."""
    from workbench.hub.from_args import find_model
    from workbench.model.check import checker

    find_model(args, checker(args), progress)


class Engines:
    """The engines of one kernel. Not for use from several threads at once."""

    def __init__(self, open_engine: Callable[..., Engine] = open_engine, find_model: Callable[..., None] = find_model) -> None:
        self._open, self._find = open_engine, find_model
        self._running: dict[str, Running] = {}
        self._served: dict[str, Served] = {}

    # Life

    @takes(ServerOptions, ServerArgs().to_dict())
    def load(
        self,
        model: str = DEFAULT_MODEL,
        *,
        name: str = "default",
        process: bool = False,
        progress: OnProgress | None = None,
        **server_args: Unpack[ServerOptions],
    ) -> Engine:
        """Opens an engine under a name and returns it; returns the running one if its options are the same.

        Stops an engine of this name with other options before the new one opens, so that memory need not hold both. Raises
        what `Engine` raises; for unknown options or models the engine of this name keeps running.
        """
        args = ServerArgs.make(model_path=model, **server_args)
        if self.is_loaded(args, name=name, process=process):
            return self.engine(name)
        if name in self._running:
            self._find(args, progress)
            self.stop(name)
        engine = self._open(args, process=process, progress=progress)
        engine.advice = IN_MAGICS
        atexit.unregister(self.close)
        atexit.register(self.close)
        self._running[name] = Running(engine, args, process, time.monotonic())
        return engine

    def is_loaded(self, args: ServerArgs, *, name: str, process: bool) -> bool:
        """Returns whether the engine of this name was opened with these options and still runs."""
        running = self._running.get(name)
        if running is None or (running.args, running.process) != (args, process):
            return False
        try:
            running.engine.get_server_info()
        except EngineDead:
            return False
        return True

    def engine(self, name: str | None = None) -> Engine:
        """Returns the engine of this name; without a name the default one, or the only one. Raises NoEngine if there is none."""
        engine: Engine = self._running[self.resolve(name)].engine
        return engine

    def resolve(self, name: str | None = None) -> str:
        """Returns the name of the engine that `engine(name)` returns, and raises what it raises."""
        names = list(self._running)
        if not names:
            raise NoEngine("no engine is running", hint="%wb load starts one (in Python: session.load())")
        if name is None:
            name = "default" if "default" in names else names[0] if len(names) == 1 else None
        if name is None:
            raise NoEngine(f"{len(names)} engines are running: {', '.join(names)}", hint="say which: --engine NAME")
        if name not in names:
            raise NoEngine(f"no engine is called {name!r}", hint=f"running: {', '.join(names)}")
        return name

    @property
    def engines(self) -> dict[str, Engine]:
        """The running engines by name."""
        return {name: running.engine for name, running in self._running.items()}

    def stop(self, name: str | None = None) -> str:
        """Shuts an engine down; returns its name. Raises NoEngine if there is none."""
        name = self.resolve(name)
        if name in self._served:
            self.stop_serving(name)
        self._running.pop(name).engine.shutdown()
        return name

    def close(self) -> None:
        """Stops every engine. Also called when the interpreter exits."""
        while self._running:
            self.stop(next(iter(self._running)))

    # Servers

    def serve(self, name: str | None = None, **settings: Any) -> Served:
        """Puts an engine behind HTTP, in place of a server that it has, and returns the server. `settings` are `HttpArgs`.

        Raises NoEngine, and what `workbench.serve` raises.
        """
        from workbench.server.thread import Served

        name = self.resolve(name)
        if name in self._served:
            self.stop_serving(name)
        self._served[name] = Served(self.text_engine(name), **settings)
        return self._served[name]

    def stop_serving(self, name: str | None = None) -> str:
        """Ends the server of an engine, which goes on; returns the engine's name. Raises NothingYet if there is none."""
        name = self.resolve(name)
        if name not in self._served:
            raise NothingYet(f"engine {name!r} is not served", hint="%wb serve does")
        self._served.pop(name).stop()
        return name

    def attach(self, url: str, api_key: str | None = None, *, name: str = "server", read_only: bool = True) -> Attached:
        """Follows the engine behind a server under a name, for views and questions. Raises what `workbench.attach` raises.

        Ends what had this name before.
        """
        from workbench.api.attach import Attached

        attached = Attached(url, api_key, read_only=read_only)
        attached.advice = ATTACHED_BY_MAGIC
        if name in self._running:
            self.stop(name)
        self._running[name] = Running(attached, attached.server_args, False, time.monotonic())
        return attached

    def text_engine(self, name: str | None) -> Engine:
        """Returns an engine of this kernel. Raises NotSupported for one that is attached."""
        found = self.engine(name)
        if place := address_of(found):
            hint = "%wb load loads one here; workbench.RuntimeEndpoint(url) runs programs on a server"
            raise NotSupported(f"the engine at {place} is only watched", hint=hint)
        return found

    # State

    def status(self, *, bandwidth: bool = False) -> Status:
        """Returns the state of every engine and the load of the machine. `bandwidth` measures first how fast each engine of this
        session reads memory."""
        for running in self._running.values() if bandwidth else ():
            if not address_of(running.engine):
                running.engine.measure_bandwidth()
        return Status(tuple(self.status_of(name) for name in self._running), busy())

    def status_of(self, name: str | None = None) -> EngineStatus:
        """Returns the state of one engine. Raises NoEngine if there is none."""
        name = self.resolve(name)
        running = self._running[name]
        place = address_of(running.engine) or ("a child process" if running.process else "this process")
        return engine_status(name, running.engine, place=place, uptime_s=time.monotonic() - running.since)

    def loaded(self, name: str, note: str) -> Loaded:
        """Returns the card that `%wb load` shows, with the caller's note."""
        return Loaded(self.status_of(name), note, self.engine(name).memory()["kv_capacity_tokens"], busy())

    def memory(self, name: str | None = None) -> Memory:
        """Returns the memory use of an engine. Raises NoEngine if there is none."""
        name = self.resolve(name)
        return Memory(name, self._running[name].args.model_path, self.engine(name).memory())

    def ps(self) -> Processes:
        """Returns the processes that run engines, including those of other kernels."""
        return processes({name: running.process for name, running in self._running.items() if not address_of(running.engine)})


def address_of(engine: Engine) -> str:
    """Returns the address of an attached engine; empty for one of this kernel."""
    return str(getattr(engine, "url", ""))
