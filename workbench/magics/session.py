"""The magics as Python: engines by name, completions, conversations, and questions about them.

    from workbench.magics import session
    session.load("smollm2-135m")
    print(session.chat("Name a river."))

Needs no IPython. Torch is imported by the first `load`.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack, cast

from workbench.config import DEFAULT_MODEL, ServerArgs, ServerOptions
from workbench.errors import EngineDead, InvalidRequest, NotSupported, WorkbenchError
from workbench.kernels.cores import busy
from workbench.lang.cell import cell_program
from workbench.lang.state import ProgramState
from workbench.magics.facts import completion, engine_status, processes, prompt_ids, unfinished
from workbench.native import results as native
from workbench.native.options import ConstraintOptions, SamplingOptions
from workbench.signature import takes
from workbench.views import Completion, EngineStatus, Loaded, Memory, Processes, Status
from workbench.views.advice import ATTACHED_BY_MAGIC, IN_MAGICS
from workbench.views.recorded.recording import Recording

if TYPE_CHECKING:  # these bring torch
    from workbench.api.attach import Attached
    from workbench.api.engine import Engine
    from workbench.server.thread import Served
    from workbench.why.request.explanation import Explanation
    from workbench.why.token.answers import Why

MAX_NAMED = 8
OnText = Callable[[str], None]
OnProgress = Callable[[str, int, int], None]
"""(work, done so far, total); the total is 0 if it is not known."""


class Sampling(SamplingOptions, ConstraintOptions, total=False):
    """Sampling parameters as keywords."""


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


class Session:
    """The engines, conversations and results of one kernel. Not for use from several threads at once."""

    def __init__(self, open_engine: Callable[..., Engine] = open_engine, find_model: Callable[..., None] = find_model) -> None:
        self._open, self._find = open_engine, find_model
        self._running: dict[str, Running] = {}
        self._served: dict[str, Served] = {}
        self.conversations: dict[str, list[dict[str, str]]] = {}
        self.last: Completion | None = None
        """The newest result."""

    # Engines

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

    # Servers

    def serve(self, name: str | None = None, **settings: Any) -> Served:
        """Puts an engine behind HTTP, in place of a server that it has, and returns the server. `settings` are `HttpArgs`.

        Raises NoEngine, and what `workbench.serve` raises.
        """
        from workbench.server.thread import Served

        name = self.resolve(name)
        if name in self._served:
            self.stop_serving(name)
        self._served[name] = Served(self._makes_text(name), **settings)
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

    def _makes_text(self, name: str | None) -> Engine:
        """Returns an engine of this kernel. Raises NotSupported for one that is attached."""
        found = self.engine(name)
        if place := _address(found):
            hint = "%wb load loads one here; workbench.RuntimeEndpoint(url) runs programs on a server"
            raise NotSupported(f"the engine at {place} is only watched", hint=hint)
        return found

    def close(self) -> None:
        """Stops every engine. Also called when the interpreter exits."""
        while self._running:
            self.stop(next(iter(self._running)))

    def abort(self, rid: str, *, engine: str | None = None) -> None:
        """Ends a request, or all its samples if `n` is above 1. Raises InvalidRequest for one that neither runs nor waits."""
        target = self.engine(engine)
        first, events = target.log.read()
        found = unfinished(events)
        if first == 0 and not any(one == rid or one.startswith(f"{rid}-") for one in found):
            names = f"{', '.join(found[:MAX_NAMED])}{', ...' * (len(found) > MAX_NAMED)}" or "none"
            raise InvalidRequest("rid", rid, "a request that runs or waits", hint=f"these do now: {names}")
        target.abort(rid)

    def flush(self, *, engine: str | None = None) -> int:
        """Drops every cached prefix that no request uses; returns the number of tokens dropped."""
        return self.engine(engine).flush_cache()

    # Text

    @takes(Sampling)
    def complete(
        self,
        prompt: str,
        *,
        engine: str | None = None,
        on_text: OnText | None = None,
        detail: bool = False,
        **sampling: Unpack[Sampling],
    ) -> Completion:
        """Continues a text and returns the result. `on_text` is called with the whole text so far, on the caller's thread.

        With `detail` the result has the model's probabilities of each token, and marks the tokens where its constraint changed
        the choice.
        An interrupt aborts the request and is raised again; the engine stays alive. Raises NoEngine, and what
        `Engine.generate` raises.
        """
        target = self._makes_text(engine)
        since = target.log.num_added
        with target.token_detail() if detail else nullcontext():
            last = _drain(target.generate(prompt, sampling, stream=True), on_text)
        ids = prompt_ids(target.tokenizer, prompt)
        self.last = completion(target, last, prompt, ids, kind="completion", since=since)
        return self.last

    @takes(Sampling)
    def chat(
        self,
        message: str,
        *,
        name: str = "default",
        new: bool = False,
        system: str | None = None,
        engine: str | None = None,
        on_text: OnText | None = None,
        detail: bool = False,
        **sampling: Unpack[Sampling],
    ) -> Completion:
        """Adds a message to the conversation called `name`, then the answer, and returns the answer.

        A turn that fails or is interrupted leaves the conversation as it was. Raises InvalidRequest for a `system` message
        that comes after the first, NoEngine, and what `Engine.chat` raises.
        """
        target = self._makes_text(engine)
        said = [] if new else self.conversations.get(name, [])
        first = [] if system is None else [{"role": "system", "content": system}]
        if said and said[: len(first)] != first:
            limit = f"given with the first message, and conversation {name!r} has begun"
            raise InvalidRequest("system", system, limit, hint="start over with --new (in Python: new=True)")
        messages = [*(said or first), {"role": "user", "content": message}]
        since = target.log.num_added
        with target.token_detail() if detail else nullcontext():
            last = _drain(target.chat(messages, sampling, stream=True), on_text)
        ids = prompt_ids(target.tokenizer, messages)
        result = self.last = completion(target, last, message, ids, kind="chat", since=since)
        if result.finish_reason.get("type") != "abort":
            self.conversations[name] = [*messages, {"role": "assistant", "content": result.text}]
        return result

    @takes(Sampling)
    def program(
        self, code: str, names: dict[str, Any], *, engine: str | None = None, **sampling: Unpack[Sampling]
    ) -> ProgramState:
        """Runs `code` as the body of a program whose state is `s`, and returns the state.

        `names` are the globals of the code; its assignments stay there. The sampling parameters are defaults of its
        generations. Raises the error of any part of the program, with the line of the code.
        """
        return cell_program(code, names).run(backend=self._makes_text(engine), **sampling)

    # Questions

    def status(self, *, bandwidth: bool = False) -> Status:
        """Returns the state of every engine and the load of the machine. `bandwidth` measures first how fast each engine of this
        session reads memory."""
        for running in self._running.values() if bandwidth else ():
            if not _address(running.engine):
                running.engine.measure_bandwidth()
        return Status(tuple(self.status_of(name) for name in self._running), busy())

    def status_of(self, name: str | None = None) -> EngineStatus:
        """Returns the state of one engine. Raises NoEngine if there is none."""
        name = self.resolve(name)
        running = self._running[name]
        place = _address(running.engine) or ("a child process" if running.process else "this process")
        return engine_status(name, running.engine, place=place, uptime_s=time.monotonic() - running.since)

    def loaded(self, name: str, note: str) -> Loaded:
        """Returns the card that `%wb load` shows, with the caller's note."""
        return Loaded(self.status_of(name), note, self.engine(name).memory()["kv_capacity_tokens"], busy())

    def explain(self, rid: str | None = None, *, engine: str | None = None) -> Explanation:
        """Returns the parts of a request's time; without `rid` those of the last request.

        Raises NothingYet if there was none, and what `Engine.explain` raises.
        """
        return self.engine(engine).explain(self._rid(rid))

    def why(self, token: int | str, rid: str | None = None, *, step: int | None = None, engine: str | None = None) -> Why:
        """Returns whether a request's constraint allowed `token` at `step`, and why not; without `rid` for the last request.

        Raises NothingYet if there was none, and what `Engine.why` raises.
        """
        return self.engine(engine).why(self._rid(rid), token, step)

    def view(self, name: str, *, engine: str | None = None, live: bool | None = None, **options: Any) -> Any:
        """Returns a view of an engine, as `Engine.view` does.

        "template" shows the conversation called `conversation` if no `messages` are given.
        """
        if name == "template":
            options = self._said(**options)
        opened: Any = self.engine(engine)
        return opened.view(name, live=live, **options)

    def recording(self, name: str, *, engine: str | None = None, **options: Any) -> Recording:
        """Returns what a view has shown since the engine's log began, as `Engine.recording` does; options as for `view`."""
        if name == "template":
            options = self._said(**options)
        opened: Any = self.engine(engine)
        recorded: Recording = opened.recording(name, **options)
        return recorded

    def _said(self, messages: Any = None, conversation: str | None = None, **options: Any) -> dict[str, Any]:
        if messages is None:
            messages = self.conversations.get(conversation or "default")
            if messages is None:
                raise NothingYet(f"no conversation is called {conversation or 'default'!r}", hint="%%wb_chat begins one")
        return {"messages": messages, **options}

    def _rid(self, rid: str | None) -> str:
        if rid is not None:
            return rid
        if self.last is None:
            raise NothingYet("no cell has generated text", hint="run %%wb_gen or %%wb_chat first, or give a request id")
        return self.last.rid

    def memory(self, name: str | None = None) -> Memory:
        """Returns the memory use of an engine. Raises NoEngine if there is none."""
        name = self.resolve(name)
        return Memory(name, self._running[name].args.model_path, self.engine(name).memory())

    def ps(self) -> Processes:
        """Returns the processes that run engines, including those of other kernels."""
        return processes({name: running.process for name, running in self._running.items() if not _address(running.engine)})


def _address(engine: Engine) -> str:
    """Returns the address of an attached engine; empty for one of this kernel."""
    return str(getattr(engine, "url", ""))


def _drain(chunks: Iterator[native.Completion], on_text: OnText | None) -> Mapping[str, Any]:
    """Reads all chunks and returns the last one. Any error or interrupt closes the stream, which aborts the request."""
    last: Mapping[str, Any] = {}
    with closing(cast("Generator[native.Completion]", chunks)):
        for last in chunks:
            if on_text is not None:
                on_text(last["text"])
    return last


session = Session()
