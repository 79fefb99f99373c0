"""What the magics can do, callable from Python: engines by name, completions, conversations, and questions about them.

    from workbench.magics import session
    session.load("smollm2-135m")
    print(session.chat("Name a river."))

Needs no IPython. Torch is imported by the first `load`.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any

from workbench.config import DEFAULT_MODEL, ServerArgs
from workbench.errors import EngineDead, InvalidRequest, WorkbenchError
from workbench.kernels.cores import busy
from workbench.lang.cell import cell_program
from workbench.lang.state import ProgramState
from workbench.magics.facts import completion, engine_status, processes, prompt_ids, unfinished
from workbench.types import both_names
from workbench.views import Completion, EngineStatus, Loaded, Memory, Processes, Status

MAX_NAMED = 8
OnText = Callable[[str], None]
OnProgress = Callable[[str, int, int], None]
"""(what is done, so far, in all); 0 in all where nobody knows."""


class NoEngine(WorkbenchError):
    """No engine runs under the name, or none at all."""


class NothingYet(WorkbenchError):
    """What is asked about has not happened yet."""


@dataclass(frozen=True, slots=True)
class Running:
    """An engine and the call that opened it."""

    engine: Any
    args: ServerArgs
    process: bool
    since: float
    """`time.monotonic()` when it was ready."""


def open_engine(args: ServerArgs, *, process: bool, progress: OnProgress | None) -> Any:
    """Here, not at the top: this is where torch comes in."""
    from workbench.api.engine import Engine

    return Engine(process=process, progress=progress, **args.to_dict())


def find_model(args: ServerArgs, progress: OnProgress | None) -> None:
    """Raises for a model that cannot be had or does not run; fetches it where it is not here yet."""
    from workbench.hub.from_args import find_model
    from workbench.model.check import checker

    find_model(args, checker(args), progress)


class Session:
    """One per kernel. Not for use from several threads at once."""

    def __init__(self, open_engine: Callable[..., Any] = open_engine, find_model: Callable[..., None] = find_model) -> None:
        self._open, self._find = open_engine, find_model
        self._running: dict[str, Running] = {}
        self.conversations: dict[str, list[dict[str, str]]] = {}
        self.last: Completion | None = None
        """The newest result."""

    # Engines

    def load(
        self,
        model: str = DEFAULT_MODEL,
        *,
        name: str = "default",
        process: bool = False,
        progress: OnProgress | None = None,
        **server_args: Any,
    ) -> Any:
        """The engine called `name`, opened with these options; one that runs with the same options already is returned.

        Raises a `WorkbenchError` for unknown options or models, and then the engine of that name goes on. Otherwise it
        is stopped before the new one opens, so that both need not fit in memory.
        """
        args = ServerArgs.make(model_path=model, **server_args)
        if self.is_loaded(args, name=name, process=process):
            return self._running[name].engine
        if name in self._running:
            self._find(args, progress)
            self.stop(name)
        engine = self._open(args, process=process, progress=progress)
        engine.by_magic = True
        atexit.unregister(self.close)
        atexit.register(self.close)
        self._running[name] = Running(engine, args, process, time.monotonic())
        return engine

    def is_loaded(self, args: ServerArgs, *, name: str, process: bool) -> bool:
        """Whether the engine of this name was opened so, and still answers."""
        running = self._running.get(name)
        if running is None or (running.args, running.process) != (args, process):
            return False
        try:
            running.engine.get_server_info()
        except EngineDead:
            return False
        return True

    def engine(self, name: str | None = None) -> Any:
        """The engine called `name`; without a name the default one, or the only one."""
        return self._running[self.resolve(name)].engine

    def resolve(self, name: str | None = None) -> str:
        """The name of the engine that `name` means."""
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
    def engines(self) -> dict[str, Any]:
        return {name: running.engine for name, running in self._running.items()}

    def stop(self, name: str | None = None) -> str:
        """Shut an engine down; returns its name."""
        name = self.resolve(name)
        self._running.pop(name).engine.shutdown()
        return name

    def close(self) -> None:
        """Stop every engine. Also called when the interpreter exits."""
        while self._running:
            self.stop(next(iter(self._running)))

    def abort(self, rid: str, *, engine: str | None = None) -> None:
        """End a request; with `n` above 1 all its samples. Raises for one that neither runs nor waits."""
        target = self.engine(engine)
        first, events = target.log.read()
        found = unfinished(events)
        if first == 0 and not any(one == rid or one.startswith(f"{rid}-") for one in found):
            names = f"{', '.join(found[:MAX_NAMED])}{', ...' * (len(found) > MAX_NAMED)}" or "none"
            raise InvalidRequest("rid", rid, "a request that runs or waits", hint=f"these do now: {names}")
        target.abort(rid)

    def flush(self, *, engine: str | None = None) -> int:
        """Drop what the prefix cache holds and no running request needs; the number of tokens."""
        num_tokens: int = self.engine(engine).flush_cache()
        return num_tokens

    # Text

    def complete(
        self,
        prompt: str,
        *,
        engine: str | None = None,
        max_tokens: int | None = None,
        on_text: OnText | None = None,
        detail: bool = False,
        **sampling: Any,
    ) -> Completion:
        """Continue `prompt` as it stands. `on_text` is called with all the text so far, on the caller's thread.

        With `detail` the result knows what the model thought of each token, and shows where its constraint overruled it.

        An interrupt aborts the request and is raised again; the engine stays alive.
        """
        target = self.engine(engine)
        since = target.log.num_added
        with target.token_detail() if detail else nullcontext():
            last = _drain(target.generate(prompt, _params(max_tokens, sampling), stream=True), on_text)
        ids = prompt_ids(target.tokenizer, prompt)
        self.last = completion(target, last, prompt, ids, kind="completion", since=since)
        return self.last

    def chat(
        self,
        message: str,
        *,
        name: str = "default",
        new: bool = False,
        system: str | None = None,
        engine: str | None = None,
        max_tokens: int | None = None,
        on_text: OnText | None = None,
        detail: bool = False,
        **sampling: Any,
    ) -> Completion:
        """Say `message` in the conversation called `name`, which grows by it and the answer.

        A turn that fails or is interrupted leaves the conversation as it was.
        """
        target = self.engine(engine)
        said = [] if new else self.conversations.get(name, [])
        first = [] if system is None else [{"role": "system", "content": system}]
        if said and said[: len(first)] != first:
            limit = f"given with the first message, and conversation {name!r} has begun"
            raise InvalidRequest("system", system, limit, hint="start over with --new (in Python: new=True)")
        messages = [*(said or first), {"role": "user", "content": message}]
        since = target.log.num_added
        with target.token_detail() if detail else nullcontext():
            last = _drain(target.chat(messages, _params(max_tokens, sampling), stream=True), on_text)
        ids = prompt_ids(target.tokenizer, messages)
        result = self.last = completion(target, last, message, ids, kind="chat", since=since)
        if result.finish_reason.get("type") != "abort":
            self.conversations[name] = [*messages, {"role": "assistant", "content": result.text}]
        return result

    def program(self, code: str, names: dict[str, Any], *, engine: str | None = None, **sampling: Any) -> ProgramState:
        """Runs `code` as the body of a program whose state is `s`, among `names`; what it binds stays there.

        `sampling` are defaults of its generations. Raises what went wrong, with the line of the code.
        """
        return cell_program(code, names).run(backend=self.engine(engine), **sampling)

    # Questions

    def status(self) -> Status:
        return Status(tuple(self.status_of(name) for name in self._running), busy())

    def status_of(self, name: str | None = None) -> EngineStatus:
        name = self.resolve(name)
        running = self._running[name]
        return engine_status(name, running.engine, process=running.process, uptime_s=time.monotonic() - running.since)

    def loaded(self, name: str, note: str) -> Loaded:
        return Loaded(self.status_of(name), note, self.engine(name).memory()["kv_capacity_tokens"], busy())

    def explain(self, rid: str | None = None, *, engine: str | None = None) -> Any:
        """Where the time of a request went; of the last one when `rid` is not given."""
        return self.engine(engine).explain(self._rid(rid))

    def why(self, token: int | str, rid: str | None = None, *, step: int | None = None, engine: str | None = None) -> Any:
        """Whether the constraint of a request, the last one when `rid` is not given, allowed `token` at `step`."""
        return self.engine(engine).why(self._rid(rid), token, step)

    def view(self, name: str, *, engine: str | None = None, live: bool | None = None, **options: Any) -> Any:
        """A live picture of an engine: "tree", ... A still one with `live=False` and where no kernel shows widgets.

        "template" shows the conversation called `conversation` where no `messages` are given.
        """
        if name == "template":
            options = self._said(**options)
        return self.engine(engine).view(name, live=live, **options)

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
        name = self.resolve(name)
        return Memory(name, self._running[name].args.model_path, self.engine(name).memory())

    def ps(self) -> Processes:
        """Processes that run engines, also those that a session which is gone left behind."""
        return processes({name: running.process for name, running in self._running.items()})


def _drain(chunks: Generator[dict[str, Any]], on_text: OnText | None) -> dict[str, Any]:
    """The last chunk. Leaving early, for whatever reason, closes the stream and so aborts the request."""
    last: dict[str, Any] = {}
    with closing(chunks):
        for last in chunks:
            if on_text is not None:
                on_text(last["text"])
    return last


def _params(max_tokens: int | None, sampling: Mapping[str, Any]) -> dict[str, Any]:
    if max_tokens is not None and sampling.get("max_new_tokens") is not None:
        raise both_names("max_tokens", "max_new_tokens")
    return {**sampling, **({} if max_tokens is None else {"max_new_tokens": max_tokens})}


session = Session()
