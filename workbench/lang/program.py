"""`@function`: turns a Python function into a program that runs on any backend, once, as a stream or as a batch."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Unpack, overload

from workbench.errors import InvalidRequest, ProgramMistake, UnknownParameter
from workbench.events import ProgramFinished, ProgramStarted
from workbench.lang.backend_calls import warm
from workbench.lang.backends.base import Backend
from workbench.lang.backends.engine_like import BackendLike
from workbench.lang.batch import run_all
from workbench.lang.default import as_backend, default_backend
from workbench.lang.interpret import Executor
from workbench.lang.options import RunOptions
from workbench.lang.run_state import Replay, RunState
from workbench.lang.source_line import placed, raised_at, warn_at
from workbench.lang.state import ProgramState
from workbench.lang.tracing import TRACED, StandIn, StopTracing, common_prefix, running_on, warm_common_prefix
from workbench.lang.verbs import LOGPROBS, SAMPLING, call_params
from workbench.signature import takes
from workbench.types import ALIASES

RUN_PARAMS = frozenset({*SAMPLING, *LOGPROBS, *ALIASES.values()})
"""Keywords of `run` beside the program's own inputs: defaults for its generations."""


class RoleLeftOpen(UserWarning):
    """A program ended inside a role."""


@dataclass(frozen=True)
class Setup:
    """The backend of a run, and defaults for its generations."""

    backend: Backend
    params: Mapping[str, Any] = field(default_factory=dict)
    logprobs: Mapping[str, Any] = field(default_factory=dict)


@overload
def function(func: Callable[..., Any], *, num_api_spec_tokens: int | None = None) -> Program: ...
@overload
def function(func: None = None, *, num_api_spec_tokens: int | None = None) -> Callable[[Callable[..., Any]], Program]: ...
def function(
    func: Callable[..., Any] | None = None, *, num_api_spec_tokens: int | None = None
) -> Program | Callable[[Callable[..., Any]], Program]:
    """Returns a program made of a function: its first parameter is the state, the others are the program's inputs.

    With `num_api_spec_tokens` a call to an API writes that number of tokens, and later generations take their text from
    them, as long as the program's text goes on as the model's did. Other backends ignore it.
    Raises InvalidRequest for a function without a state, or an async one.
    """
    make = functools.partial(Program, num_api_spec_tokens=num_api_spec_tokens)
    return make if func is None else make(func)


class Program:
    """A program; some of its inputs may be fixed (`bind`)."""

    def __init__(
        self, func: Callable[..., Any], inputs: Mapping[str, Any] | None = None, *, num_api_spec_tokens: int | None = None
    ) -> None:
        parameters = list(inspect.signature(func).parameters.values())
        if not parameters or parameters[0].kind not in (parameters[0].POSITIONAL_ONLY, parameters[0].POSITIONAL_OR_KEYWORD):
            raise InvalidRequest(
                f"program {func.__name__}", str(inspect.signature(func)), "a function whose first parameter is the state"
            )
        if inspect.iscoroutinefunction(func):
            raise InvalidRequest(
                f"program {func.__name__}", "async", "a plain function", hint="its generations run side by side anyway"
            )
        if num_api_spec_tokens is not None and (type(num_api_spec_tokens) is not int or num_api_spec_tokens < 1):
            raise InvalidRequest("num_api_spec_tokens", num_api_spec_tokens, "an integer of at least 1")
        functools.update_wrapper(self, func)
        self.func = func
        self.name = func.__name__
        self.inputs = dict(inputs or {})
        self.num_api_spec_tokens = num_api_spec_tokens
        self._parameters = parameters[1:]

    def run(self, *args: Any, backend: BackendLike | None = None, stream: bool = False, **inputs: Any) -> ProgramState:
        """Runs the program and returns its state; with `stream=True` it returns at once, while the program runs.

        Keywords that are not inputs of the program are defaults for its generations (`temperature=0.1`). Raises the error of
        any part of it, with the program's line; UnknownParameter for other keywords, ProgramMistake for missing inputs.
        """
        values, more = self._split(args, inputs)
        return self._start(values, self._setup(backend, more), is_streamed=stream)

    @takes(RunOptions)
    def run_batch(
        self, batch: Sequence[Mapping[str, Any] | Sequence[Any]], *, backend: BackendLike | None = None,
        num_threads: int | str = "auto", progress_bar: bool = False, warm: bool = True, **defaults: Unpack[RunOptions],
    ) -> list[ProgramState]:  # fmt: skip
        """Runs the program once for each dict (or list) of inputs, all at the same time, and returns the states in that order.

        A program that fails leaves the others alone: its state raises when it is read (`state.error()` returns the
        error), and a warning counts the failures. `warm`: the common beginning of all is found by running the function with
        stand-ins for its inputs, up to its first generation, and computed once. Raises InvalidRequest for a batch that is
        no list of inputs.
        """
        if isinstance(batch, Mapping | str) or not all(isinstance(inputs, Mapping | list | tuple) for inputs in batch):
            raise InvalidRequest("batch", batch, "a list of dicts, one per program")
        named = [inputs if isinstance(inputs, Mapping) else self._named(inputs) for inputs in batch]
        return run_batch(
            [self.bind(**inputs) for inputs in named], backend=backend, num_threads=num_threads, progress_bar=progress_bar,
            warm=warm, **defaults,
        )  # fmt: skip

    def bind(self, **inputs: Any) -> Program:
        """Returns the same program with these inputs fixed. Raises UnknownParameter for a name that is no input."""
        known = {parameter.name for parameter in self._parameters}
        for name in inputs:
            if name not in known and not self._takes_any:
                raise UnknownParameter(name, known, where=f"program {self.name}")
        return Program(self.func, {**self.inputs, **inputs}, num_api_spec_tokens=self.num_api_spec_tokens)

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        """Runs inside another program if a state comes first: appends its parts there, and returns what the function returns.

        Without a state it is `run`, inside another program on that one's backend.
        """
        if args and isinstance(args[0], ProgramState):
            return self.func(*args, **{**self.inputs, **inputs})
        if (backend := running_on.get()) is TRACED:
            raise StopTracing
        return self.run(*args, **{"backend": backend, **inputs})

    def cache(self, backend: BackendLike | None = None) -> None:
        """Computes the prefix that all runs of the program begin with, so that the first run finds it in the cache."""
        prefix = common_prefix(self.func, [dict.fromkeys(self._required, StandIn()) | self.inputs])
        warm(default_backend() if backend is None else as_backend(backend), prefix)

    def compile(self, *, backend: BackendLike | None = None) -> Program:
        """Returns the program itself: it runs as it is written."""
        return self

    # -- one run ------------------------------------------------------------------------------------------------

    @property
    def _takes_any(self) -> bool:
        return any(parameter.kind is parameter.VAR_KEYWORD for parameter in self._parameters)

    def _split(self, args: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the inputs by name, and the defaults for generations."""
        values = {**self.inputs, **self._named(args)}
        more = {}
        own = {parameter.name for parameter in self._parameters}
        for name, value in keywords.items():
            if name in own or (self._takes_any and name not in RUN_PARAMS):
                values[name] = value
            elif name in RUN_PARAMS:
                more[name] = value
            else:
                raise UnknownParameter(name, own | RUN_PARAMS - {*ALIASES.values()}, where=f"program {self.name}")
        self._check_complete(values)
        return values, more

    def _named(self, args: Sequence[Any]) -> dict[str, Any]:
        names = [parameter.name for parameter in self._parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        if len(args) > len(names):
            raise ProgramMistake(
                f"{len(args)} inputs are given, program {self.name} takes at most {len(names)}",
                hint=f"{self.name}.run({', '.join(f'{name}=...' for name in names)})",
            )
        return dict(zip(names, args, strict=False))

    @property
    def _required(self) -> set[str]:
        fixed = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
        return {each.name for each in self._parameters if each.default is each.empty and each.kind in fixed}

    def _check_complete(self, values: Mapping[str, Any]) -> None:
        for parameter in self._parameters:
            if parameter.name in self._required - values.keys():
                raise ProgramMistake(
                    f"program {self.name} was not given its input {parameter.name}",
                    hint=f"{self.name}.run({parameter.name}=...), or bind({parameter.name}=...) for a batch",
                )

    def _setup(self, backend: BackendLike | None, defaults: Mapping[str, Any]) -> Setup:
        params, logprobs = call_params(defaults, self.name)
        return Setup(default_backend() if backend is None else as_backend(backend), params, logprobs)

    def _new_run(self, setup: Setup, **more: Any) -> RunState:
        return RunState(self.name, setup.backend, setup.params, setup.logprobs, num_ahead=self.num_api_spec_tokens, **more)

    def _start(
        self, inputs: Mapping[str, Any], setup: Setup, *, is_streamed: bool = False, replay: Replay | None = None
    ) -> ProgramState:
        run = self._new_run(setup, is_streamed=is_streamed, replay=replay)
        state = ProgramState(Executor(run))
        state._rerun = lambda again: self._start(inputs, setup, replay=again)
        if is_streamed:
            threading.Thread(target=self._execute, args=(run, state, inputs), name=f"workbench-{self.name}", daemon=True).start()
            return state
        self._execute(run, state, inputs)
        if run.failure is not None:
            raise run.failure
        return state

    def _execute(self, run: RunState, state: ProgramState, inputs: Mapping[str, Any]) -> None:
        """Runs the function's body, then waits for all that it started. A failure is kept in `run.failure`."""
        run.body_thread = threading.get_ident()
        outer = running_on.set(run.backend)
        run.record(ProgramStarted, name=self.name, backend=run.backend.name, model=run.backend.model)
        try:
            state._ret_value = self.func(state, **inputs)
            state._settle()
            run.sync()
            run.failure = run.error
            if run.failure is None:
                self._warn_of_open_role(state)
        except BaseException as error:
            run.failure = placed(error, self.name, raised_at(error.__traceback__))
            run.abort(run.failure)
        finally:
            running_on.reset(outer)
            run.end(run.failure)
            run.record(ProgramFinished, error="" if run.failure is None else f"{type(run.failure).__name__}: {run.failure}")

    def _warn_of_open_role(self, state: ProgramState) -> None:
        text = state._executor.text
        role, place = text.prompt().open_role, text.role_place
        if role is not None and place is not None:
            warn_at(f"program {self.name} ended inside the role {role}: {role}_end() is missing", RoleLeftOpen, place)


@takes(RunOptions)
def run_batch(
    programs: Sequence[Program], *, backend: BackendLike | None = None, num_threads: int | str = "auto",
    progress_bar: bool = False, warm: bool = True, **defaults: Unpack[RunOptions],
) -> list[ProgramState]:  # fmt: skip
    """Runs programs whose inputs are bound, all at the same time: `run_batch([qa.bind(question=q) for q in questions])`.

    Returns their states; order, failures and `warm` are as in `Program.run_batch`. Raises ProgramMistake or InvalidRequest for
    anything but programs with all their inputs bound, UnknownParameter for an unknown default.
    """
    if isinstance(programs, Program):
        raise ProgramMistake("run_batch was given one program", hint=f"run_batch([{programs.name}.bind(...), ...])")
    for program in programs:
        if not isinstance(program, Program):
            raise InvalidRequest(
                "programs", program, "programs with their inputs bound", hint="run_batch([qa.bind(question=...), ...])"
            )
        program._check_complete(program.inputs)
    if not programs:
        return []
    unknown = sorted(defaults.keys() - RUN_PARAMS)
    if unknown:
        raise UnknownParameter(unknown[0], RUN_PARAMS - {*ALIASES.values()}, where="run_batch")
    setup = programs[0]._setup(backend, defaults)
    if warm:
        for func in dict.fromkeys(program.func for program in programs):
            warm_common_prefix(func, [program.inputs for program in programs if program.func is func], setup.backend)
    runs, states = [], []
    for program in programs:
        run = program._new_run(setup)
        state = ProgramState(Executor(run))
        state._rerun = functools.partial(_again, program, setup)
        runs.append(run)
        states.append(state)
    bodies = [functools.partial(p._execute, run, state, p.inputs) for p, run, state in zip(programs, runs, states, strict=True)]
    run_all(runs, bodies, num_threads=num_threads, progress_bar=progress_bar)
    return states


def _again(program: Program, setup: Setup, replay: Replay) -> ProgramState:
    return program._start(program.inputs, setup, replay=replay)
